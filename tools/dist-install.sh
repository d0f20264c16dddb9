#!/bin/sh
# Installs the header, the libraries, and what pkg-config and CMake need.
#
# usage: install.sh [PREFIX, /usr/local by default]      DESTDIR is put before it
set -eu
cd "$(dirname "$0")"
prefix=${1:-/usr/local}
to=${DESTDIR:-}$prefix

mkdir -p "$to"
cp -R include lib share "$to/"
# The archive is made for /usr/local.
pc=lib/pkgconfig/b24_messageservice.pc
sed "s|/usr/local|$prefix|g" "$pc" >"$to/$pc"
echo "installed in $to; if programs do not find the library, run ldconfig as root"
