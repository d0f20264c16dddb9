#!/bin/bash
# Makes the static library that is installed from the one that Cargo makes: one object file, of whose
# symbols only the functions of the header are visible. Otherwise those of Rust's standard library, of
# SQLite and of ring would be in the way of a program's own copies of them.
#
# usage: hide.sh CARGOS_ARCHIVE ARCHIVE HEADER      LD, OBJCOPY and AR may be commands of several words
set -euo pipefail
from=$1
to=$2
header=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

read -ra ld <<<"${LD:-ld}"
read -ra objcopy <<<"${OBJCOPY:-objcopy}"
read -ra ar <<<"${AR:-ar}"
for tool in "${ld[0]}" "${objcopy[0]}" "${ar[0]}"; do
    if ! command -v "$tool" >/dev/null; then
        echo "hide.sh: there is no $tool: install the binutils, or install the library with HIDE=no" >&2
        exit 1
    fi
done

roots=()
while read -r name; do
    roots+=(-u "$name")
done < <(sed 's|//.*||' "$header" | grep -oE '\bb24_[a-z0-9_]+ ?\(' | tr -d ' (' | sort -u)

# Without what no function needs, of which linkers can no longer leave out whole files. Section groups
# are dissolved, since a linker would take that of another Rust archive for the same.
"${ld[@]}" -r --gc-sections --force-group-allocation --strip-debug "${roots[@]}" \
    -o "$work/merged.o" "$from"
# LLVM's sections are of one crate alone: plugins of the binutils stumble over its code, and a table of
# its symbols is wrong now.
"${objcopy[@]}" --wildcard --keep-global-symbol='b24_*' \
    --remove-section=.llvmbc --remove-section=.llvmcmd \
    --remove-section=.llvm_addrsig "$work/merged.o" "$work/b24_messageservice.o"
mkdir -p "$(dirname "$to")"
# Under its name only when it is whole.
(cd "$work" && "${ar[@]}" rcs archive.a b24_messageservice.o)
mv "$work/archive.a" "$to.new"
mv "$to.new" "$to"
