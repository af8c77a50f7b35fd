#!/bin/sh
# Keeps one log file within bounds: `keep-log.sh <octets> <file> <command that opens it anew…>`. A file that is larger is renamed (the mailbox
# service reads it to its end before it goes on with the new one), and of those before one is kept.
set -u
limit=$1 file=$2
shift 2
while sleep 60; do
  [ "$(stat -c %s "$file" 2>/dev/null || echo 0)" -lt "$limit" ] && continue
  [ -e "$file.1" ] && mv -f "$file.1" "$file.2"
  mv "$file" "$file.1"
  : >"$file"
  chown --reference="$file.1" "$file"
  chmod --reference="$file.1" "$file"
  "$@"
done
