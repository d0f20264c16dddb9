#!/bin/bash
# Makes the static library that is installed from the one that Cargo makes: one object file, of whose
# symbols only the functions of the header are visible. Otherwise those of Rust's standard library, of
# SQLite and of ring would be in the way of a program's own copies of them.
#
# usage: hide.sh CARGOS_ARCHIVE ARCHIVE HEADER      for another machine: its LD, OBJCOPY and AR
set -euo pipefail
from=$1
to=$2
header=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

roots=()
while read -r name; do
    roots+=(-u "$name")
done < <(sed 's|//.*||' "$header" | grep -oE '\bb24_[a-z0-9_]+ ?\(' | tr -d ' (' | sort -u)

# Without what no function needs, of which linkers can no longer leave out whole files. Section groups
# are dissolved, since a linker would take that of another Rust archive for the same.
"${LD:-ld}" -r --gc-sections --force-group-allocation --strip-debug "${roots[@]}" \
    -o "$work/merged.o" "$from"
# The sections of LLVM's own code are of one crate alone, and plugins of the binutils stumble over them.
"${OBJCOPY:-objcopy}" --wildcard --keep-global-symbol='b24_*' \
    --remove-section=.llvmbc --remove-section=.llvmcmd "$work/merged.o" "$work/b24_messageservice.o"
mkdir -p "$(dirname "$to")"
# Under its name only when it is whole.
(cd "$work" && "${AR:-ar}" rcs archive.a b24_messageservice.o)
mv "$work/archive.a" "$to.new"
mv "$to.new" "$to"
