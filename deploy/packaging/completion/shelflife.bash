# bash completion for shelflife. Commands and options come from --help, so that they are always those of the installed program.

# The options of a command, or with none the commands.
_shelflife_words() {
    if [ -z "$2" ]; then
        "$1" --help 2>/dev/null | sed -n 's/^  \([a-z]\{1,\}\)  .*/\1/p'
    else
        "$1" "$2" --help 2>/dev/null | grep -oE -- '(^|[[ ])--[a-z][a-z-]*' | grep -oE -- '--[a-z-]+' | sort -u
        echo --help
    fi
}

# Snapshots: a run's folder stands for its best one, and those in it have names.
_shelflife_snapshots() {
    local folder
    compgen -d -- "$1"
    for folder in "$1"* "${1%/*}"; do
        if [ -d "$folder/snapshots" ]; then
            compgen -d -- "${folder%/}/snapshots/"
        fi
    done
}

_shelflife() {
    local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} program=${COMP_WORDS[0]} command=${COMP_WORDS[1]-}
    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ]; then
        mapfile -t COMPREPLY < <(compgen -W "$(_shelflife_words "$program" '') --help --version" -- "$current")
        return
    fi
    case $before in
    --resume) mapfile -t COMPREPLY < <(compgen -W 'auto never' -- "$current"; _shelflife_snapshots "$current" | sort -u) ;;
    --format) mapfile -t COMPREPLY < <(compgen -W 'safetensors onnx' -- "$current") ;;
    --role) mapfile -t COMPREPLY < <(compgen -W 'auto server worker' -- "$current") ;;
    --shape) mapfile -t COMPREPLY < <(compgen -W 'small base' -- "$current") ;;
    --split) mapfile -t COMPREPLY < <(compgen -W 'stratified:80,10,10 time:80,10,10' -- "$current") ;;
    --together) mapfile -t COMPREPLY < <(compgen -W 'titles videos titles,videos none' -- "$current") ;;
    --dir | --dataset | --png | --root | --keys) mapfile -t COMPREPLY < <(compgen -d -- "$current") ;;
    --config | --hosts | --out | --program | --html | --token-file | --open-file) mapfile -t COMPREPLY < <(compgen -f -- "$current") ;;
    *)
        case $current in
        -*) mapfile -t COMPREPLY < <(compgen -W "$(_shelflife_words "$program" "$command")" -- "$current") ;;
        *)
            case $command in
            evaluate | predict | serve | export) mapfile -t COMPREPLY < <({ _shelflife_snapshots "$current"; compgen -f -- "$current"; } | sort -u) ;;
            snapshot)
                if [ "$COMP_CWORD" -eq 2 ]; then
                    mapfile -t COMPREPLY < <(compgen -W 'list verify prune' -- "$current")
                else
                    mapfile -t COMPREPLY < <(_shelflife_snapshots "$current" | sort -u)
                fi
                ;;
            bench) mapfile -t COMPREPLY < <(compgen -W 'compute step server transport loader snapshot serve' -- "$current") ;;
            *) mapfile -t COMPREPLY < <(compgen -f -- "$current") ;;
            esac
            ;;
        esac
        ;;
    esac
}
complete -o filenames -F _shelflife shelflife
