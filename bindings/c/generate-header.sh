#!/bin/sh
# Writes include/b24_messageservice.h; with --check, fails if the committed one is out of date.
set -eu
cd "$(dirname "$0")/../.."
exec cargo run --quiet --locked --package b24-header -- "$@"
