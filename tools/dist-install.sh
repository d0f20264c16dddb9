#!/bin/sh
# Installs the header, the libraries, what pkg-config and CMake need, and the program.
#
# usage: install.sh [PREFIX, /usr/local by default]      DESTDIR is put before it
set -eu
cd "$(dirname "$0")"
prefix=${1:-/usr/local}
to=${DESTDIR:-}$prefix

mkdir -p "$to"
cp -R bin include lib share "$to/"
# The archive is made for /usr/local.
for file in lib/pkgconfig/b24_messageservice.pc share/b24-messageservice/*; do
    sed "s|/usr/local|$prefix|g" "$file" >"$to/$file"
done
echo "installed in $to; if programs do not find the library, run ldconfig as root"
