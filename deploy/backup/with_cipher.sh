#!/bin/sh
# Runs a command with the pass of the backups in its environment, taken from the file of a secret.
set -eu
if [ -r /run/secrets/backup_pass ]; then
  PGBACKREST_REPO1_CIPHER_PASS=$(cat /run/secrets/backup_pass)
  export PGBACKREST_REPO1_CIPHER_PASS
fi
exec "$@"
