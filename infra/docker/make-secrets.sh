#!/bin/sh
# Makes the secrets of a new host, at random, one file each, in ./secrets (or the directory named first). A file that is there
# stays as it is, so running it again after an upgrade adds what is new. It prints names, never values.
#
# Files: owner root, group 10000 (the containers' user), mode 0440: containers get only those that docker-compose.yml names.
# Not made here: tls.* (from your certificate authority) and root.*, authorities_passphrase and what lies
# in ./authorities, or the directory named second (from the key ceremony).
set -eu
umask 077
directory=${1:-secrets}
authorities=${2:-authorities}
group=10000
mkdir -p "$directory"
chmod 0700 "$directory"

keep() { # keep NAME: standard input becomes the secret
  draft="$directory/.$1.new"
  tr -d '\n' >"$draft" # Not a byte more than the secret.
  test -s "$draft" || { echo "no secret was made for $1" >&2; exit 1; }
  mv "$draft" "$directory/$1"
  echo "made $directory/$1"
}
random() { openssl rand -base64 24 | tr '+/' '-_'; }
absent() { ! test -s "$directory/$1"; }

for name in postgres_password ldap_directory_password ldap_mailbox_password ldap_certificate_password \
  ldap_postfix_password ldap_dovecot_password ldap_reader_password doveadm_api_key notifier_password; do
  if absent "$name"; then random | keep "$name"; fi
done
for role in owner directory mailbox certificate; do
  name="${role}_database_url"
  if absent "$name"; then echo "postgresql://congvu_$role:$(random)@postgres:5432/congvu" | keep "$name"; fi
done
for name in personal_data_key personal_data_index_key key_wrapping_key notice_message_key; do
  if absent "$name"; then openssl rand -hex 32 | keep "$name"; fi
done
if absent token_signing_key; then
  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$directory/.token_signing_key.new"
  mv "$directory/.token_signing_key.new" "$directory/token_signing_key"
  echo "made $directory/token_signing_key"
fi
if absent notice_dkim_key; then
  openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$directory/.notice_dkim_key.new" 2>/dev/null
  mv "$directory/.notice_dkim_key.new" "$directory/notice_dkim_key"
  echo "made $directory/notice_dkim_key"
fi

if test "$(id -u)" = 0; then
  chown root:$group "$directory"/*
else
  echo "not root: give the files to group $group yourself (chown root:$group $directory/*)" >&2
fi
chmod 0440 "$directory"/*
if test -d "$authorities"; then
  test "$(id -u)" != 0 || chown -R root:$group "$authorities"
  chmod 0750 "$authorities"
  find "$authorities" -type f -exec chmod 0440 {} +
fi
