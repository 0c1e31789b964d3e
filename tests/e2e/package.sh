#!/usr/bin/env bash
# The Debian package: built, unpacked, its programs run, its parts in place; manual pages, systemd units and completions without a complaint.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/e2e/common.bash
. "$here/common.bash"
for program in cpack dpkg-deb dpkg-shlibdeps; do
    command -v $program >/dev/null || { echo "skipped: $program is not installed (cmake, dpkg-dev)"; exit 77; }
done
[ -f "$SHELFLIFE_BIN/CPackConfig.cmake" ] || { echo "skipped: $SHELFLIFE_BIN was not configured with packaging"; exit 77; }

# ---- the package ----
must cpack --config "$SHELFLIFE_BIN/CPackConfig.cmake" -G DEB -B "$dir/package"
packages=("$dir"/package/shelflife_*.deb)
[ -f "${packages[0]}" ] || fail "cpack made no package: $(cat "$dir/out.txt")"
deb=${packages[0]}
tree=$dir/tree
dpkg-deb -x "$deb" "$tree"
dpkg-deb -e "$deb" "$dir/control"
[ "$("$tree/usr/bin/shelflife" --version)" = "$("$shelflife" --version)" ] || fail "the unpacked program is another version"
must "$tree/usr/bin/shelflife" sample "$dir/clips" --clips 6 --seed 1 # finds shelflife-sample beside it
must "$tree/usr/bin/shelflife" vocab "$dir/clips/manifest.jsonl" --out "$dir/vocab.txt" --size 600 --lower-case
small_config "$dir/config.yaml"
must "$tree/usr/bin/shelflife" import "$dir/clips/manifest.jsonl" --out "$dir/dataset" --config "$dir/config.yaml" # and shelflife-decode
for file in bin/shelflife-decode lib/systemd/system/shelflife-server@.service lib/systemd/system/shelflife-worker@.service lib/systemd/system/shelflife-serve@.service lib/sysusers.d/shelflife.conf \
    share/bash-completion/completions/shelflife share/zsh/vendor-completions/_shelflife share/fish/vendor_completions.d/shelflife.fish \
    share/shelflife/slurm/shelflife.sbatch share/shelflife/kubernetes/base/workers.yaml share/doc/shelflife/launch.md share/man/man1/shelflife.1; do
    [ -s "$tree/usr/$file" ] || fail "the package lacks /usr/$file: $(cd "$tree" && find . -type f | sort)"
done
grep -q "^Depends:.*libzmq5.*" "$dir/control/control" || fail "the package does not depend on what it is linked to: $(cat "$dir/control/control")"
[ -x "$dir/control/postinst" ] && sh -n "$dir/control/postinst" || fail "postinst"
[ -z "$(find "$tree" -perm /022 -not -type l)" ] || fail "others may write: $(find "$tree" -perm /022 -not -type l)"

# ---- each command: an example, a page without warnings ----
commands=$("$shelflife" --help | sed -n 's/^  \([a-z]\{1,\}\)  .*/\1/p')
[ "$(wc -w <<<"$commands")" -ge 16 ] || fail "only the commands $commands"
for command in $commands; do
    grep -qE "^examples?: .*shelflife $command" <<<"$("$shelflife" "$command" --help)" || fail "shelflife $command --help has no example"
    page=$tree/usr/share/man/man1/shelflife-$command.1
    [ -s "$page" ] || fail "no page of $command"
    for part in NAME SYNOPSIS DESCRIPTION EXAMPLES; do
        grep -q "^.SH $part" "$page" || fail "$page lacks $part"
    done
    while read -r option; do
        grep -qF -- "${option//-/\\-}" "$page" || fail "$page lacks $option"
    done < <("$shelflife" "$command" --help | grep -oE -- '^  --[a-z-]+' | tr -d ' ')
done
if command -v mandoc >/dev/null; then
    mandoc -Tlint -W warning "$tree"/usr/share/man/man1/*.1 >"$dir/lint.txt" 2>&1 || fail "mandoc: $(cat "$dir/lint.txt")"
    printf '.TH X 1\n.SH NAME\n.NOSUCH\n' >"$dir/bad.1"
    ! mandoc -Tlint -W warning "$dir/bad.1" >/dev/null 2>&1 || fail "mandoc finds nothing wrong with a bad page"
fi
if command -v man >/dev/null && [ -d /usr/share/groff/1.22.4/tmac ]; then
    for page in "$tree"/usr/share/man/man1/*.1; do
        LC_ALL=C.UTF-8 MANROFFSEQ='' man --warnings -E UTF-8 -l -Tutf8 -Z "$page" 2>"$dir/man.txt" >/dev/null || fail "man $page: $(cat "$dir/man.txt")"
        [ ! -s "$dir/man.txt" ] || fail "man $page: $(cat "$dir/man.txt")"
    done
fi

# ---- units ----
if command -v systemd-analyze >/dev/null; then
    mkdir "$dir/units"
    for unit in server worker serve; do # as an instance, with the program where it is now
        sed "s|/usr/bin/shelflife|$tree/usr/bin/shelflife|" "$tree/usr/lib/systemd/system/shelflife-$unit@.service" >"$dir/units/shelflife-$unit@run.service"
    done
    systemd-analyze verify --man=no "$dir"/units/*.service >"$dir/units.txt" 2>&1 || true
    ! grep -E "shelflife-(server|worker|serve)@" "$dir/units.txt" || fail "systemd-analyze verify: $(cat "$dir/units.txt")"
    sed -i 's/^Restart=.*/Restart=perhaps/' "$dir/units/shelflife-server@run.service"
    systemd-analyze verify --man=no "$dir"/units/shelflife-server@run.service >"$dir/units.txt" 2>&1 || true
    grep -q "shelflife-server@" "$dir/units.txt" || fail "systemd-analyze verify finds nothing wrong with a bad unit"
fi

# ---- completion ----
complete_bash() { # words…: what the last of them may become
    bash -c '
        source "$1"; shift
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
        _shelflife
        printf "%s\n" "${COMPREPLY[@]}"' complete "$tree/usr/share/bash-completion/completions/shelflife" "$@"
}
[ "$(complete_bash "$shelflife" tra)" = train ] || fail "tra becomes $(complete_bash "$shelflife" tra)"
[ "$(complete_bash "$shelflife" '' | grep -vc -- --)" = "$(wc -w <<<"$commands")" ] || fail "not all commands: $(complete_bash "$shelflife" '')"
[ "$(complete_bash "$shelflife" train --res)" = --resume ] || fail "--res becomes $(complete_bash "$shelflife" train --res)"
[ "$(complete_bash "$shelflife" node x --role s)" = server ] || fail "--role s becomes $(complete_bash "$shelflife" node x --role s)"
[ "$(complete_bash "$shelflife" import x --split st)" = stratified:80,10,10 ] || fail "--split st becomes $(complete_bash "$shelflife" import x --split st)"
for option in 'train x --profile' 'server x --stay' 'inspect x --html' 'serve x --reload-ms'; do
    read -ra words <<<"${option%?}"
    [ "$(complete_bash "$shelflife" "${words[@]}")" = "${option##* }" ] || fail "${option%?} becomes $(complete_bash "$shelflife" "${words[@]}")"
done
[ "$(complete_bash "$shelflife" snapshot v)" = verify ] || fail "snapshot v"
mkdir -p "$dir/run/snapshots/step-0000000012" "$dir/run/snapshots/best"
grep -qxF "$dir/run/snapshots/step-0000000012" <<<"$(complete_bash "$shelflife" evaluate "$dir/run")" || fail "no snapshots: $(complete_bash "$shelflife" evaluate "$dir/run")"
grep -qxF "$dir/run/snapshots/best" <<<"$(complete_bash "$shelflife" train x --resume "$dir/run/")" || fail "no snapshots after --resume"
grep -qxF auto <<<"$(complete_bash "$shelflife" train x --resume a)" || fail "no auto after --resume"
if command -v zsh >/dev/null; then
    must zsh -n "$tree/usr/share/zsh/vendor-completions/_shelflife"
fi
if command -v fish >/dev/null; then
    complete_fish() {
        env HOME="$dir" XDG_CONFIG_HOME="$dir/fish" PATH="$tree/usr/bin:$PATH" fish -c "source $tree/usr/share/fish/vendor_completions.d/shelflife.fish; complete -C '$1'"
    }
    grep -q '^train' <<<"$(complete_fish 'shelflife tra')" || fail "fish: tra becomes $(complete_fish 'shelflife tra')"
    grep -q '^--resume' <<<"$(complete_fish 'shelflife train --res')" || fail "fish: --res becomes $(complete_fish 'shelflife train --res')"
fi
echo "package holds"
