# fish completion for shelflife. Commands and options come from --help, so that they are always those of the installed program.
function __shelflife_commands
    shelflife --help 2>/dev/null | string match -rg '^  ([a-z]+  +[^ ].*)' | string replace -r '  +' \t
end
function __shelflife_options
    set -l words (commandline -opc)
    test (count $words) -ge 2; or return
    shelflife $words[2] --help 2>/dev/null | string match -rg '^  (--[a-z-]+.*)' | string replace -r '^(--[a-z-]+).*?  +' '$1'\t
    echo --help
end
complete -c shelflife -n __fish_use_subcommand -f -a '(__shelflife_commands)'
complete -c shelflife -n 'not __fish_use_subcommand; and string match -q -- "-*" (commandline -ct)' -f -a '(__shelflife_options)'
complete -c shelflife -n '__fish_seen_subcommand_from snapshot; and test (count (commandline -opc)) -eq 2' -f -a 'list verify prune'
