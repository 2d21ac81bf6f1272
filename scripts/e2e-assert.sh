#!/bin/sh
# What e2e.yml asserts, in the one language that every runner and container has: Alpine knows no other shell, and there
# is no Node on a container's PATH.
#
#   sh scripts/e2e-assert.sh credentials   says whether the secrets of a login are there; sets the output `complete`
#   sh scripts/e2e-assert.sh installed     the CLI is the one that was asked for, and runs in a later step
#   sh scripts/e2e-assert.sh session       a later step is logged in to the workspace that was asked for
#
# GOT_* are outputs of setup-bl, WANT_* patterns of the shell for them. Tokens are compared but never printed.
set -eu

failed=0

# ok WHAT COMMAND…: WHAT holds where the command succeeds.
ok() {
  what=$1
  shift
  if "$@"; then
    echo "ok: $what"
  else
    echo "::error title=e2e::not so: $what"
    failed=1
  fi
}

# like GOT PATTERN
# shellcheck disable=SC2329 # It is called by ok.
like() {
  # shellcheck disable=SC2254 # It is a pattern.
  case $1 in $2) return 0 ;; esac
  return 1
}

# is NAME GOT PATTERN
is() {
  ok "$1 '$2' is like '$3'" like "$2" "$3"
}

credentials() {
  complete=true
  [ -n "$HAVE_WORKSPACE" ] && [ -n "$HAVE_CLIENT_ID" ] && [ "$HAVE_CLIENT_SECRET" = true ] || complete=false
  echo "complete=$complete" >>"$GITHUB_OUTPUT"
  if [ "$complete" = false ]; then
    echo "::notice title=e2e::Not run: environment $ENVIRONMENT lacks BL_WORKSPACE, BL_CLIENT_ID or BL_CLIENT_SECRET."
  fi
}

installed() {
  is version "$GOT_VERSION" "$WANT_VERSION"
  is cache-hit "$GOT_CACHE_HIT" "$WANT_CACHE_HIT"
  is verified-by "$GOT_VERIFIED_BY" '*-checksums'
  is authenticated "$GOT_AUTHENTICATED" false
  # Windows has one file by two names: C:\…\bl.exe and /c/…/bl.
  found=$(command -v bl || echo nothing)
  ok "bl on PATH, $found, is the output path, $GOT_PATH" test "$found" -ef "$GOT_PATH"
  is 'bl version' "$(bl version --skip-version-warning 2>&1)" "*$GOT_VERSION*"
}

session() {
  is authenticated "$GOT_AUTHENTICATED" true
  is workspace "$GOT_WORKSPACE" "$WANT_WORKSPACE"
  is token-type "$GOT_TOKEN_TYPE" oauth
  is token-expires-at "$GOT_TOKEN_EXPIRES_AT" '20??-??-??T??:??:??*'
  is BL_WORKSPACE "${BL_WORKSPACE:-}" "$WANT_WORKSPACE"
  ok 'BL_API_KEY is not empty' test -n "${BL_API_KEY:-}"
  ok 'BL_TOKEN is the same' test "${BL_TOKEN:-}" = "${BL_API_KEY:-}"
  # Asks the API for the workspace, with the login that stands in the config.
  token=$(bl token "$WANT_WORKSPACE" --skip-version-warning) || token=
  ok 'bl token prints the session token' test "$token" = "${BL_API_KEY:-}"
}

case ${1:-} in
  credentials) credentials ;;
  installed) installed ;;
  session) session ;;
  *)
    echo "usage: $0 credentials|installed|session" >&2
    exit 2
    ;;
esac
exit "$failed"
