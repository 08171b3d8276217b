# shellcheck shell=bash
# checks.bash: sourced by the engines' scripts. One function per kind of check; `finish` writes the counts.
RUNTIME=/usr/local/bin/orlop
LOG=/opt/work/log
passed=0 failed=0 skipped=0

# pass NAME / fail NAME DETAIL / skip NAME REASON
pass() { passed=$((passed + 1)); result passed "$1"; echo "ok   $1"; }
fail() {
    failed=$((failed + 1))
    result failed "$1"
    echo "FAIL $1"
    printf '%s\n' "${2:-}" | tail -n 12 | sed 's/^/     | /'
}
skip() { skipped=$((skipped + 1)); result skipped "$1"; echo "SKIP $1: $2"; }
result() { printf '%s\t%s\n' "$1" "$2" >>/opt/work/results; }

# expect NAME CODE PATTERN COMMAND…: the command ends with CODE (or one of them: 125|127), and its output matches the extended PATTERN.
expect() {
    local name=$1 code=$2 pattern=$3 out status
    shift 3
    out=$(timeout --kill-after=5 60 "$@" 2>&1 </dev/null)
    status=$?
    if ! [[ $status =~ ^($code)$ ]]; then
        fail "$name" "exit code $status, not $code: $out"
    elif ! grep -Eq -- "$pattern" <<<"$out"; then
        fail "$name" "no '$pattern' in: $out"
    else
        pass "$name"
    fi
}

# within SECONDS COMMAND…: try every 50 ms until it succeeds.
within() {
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.05
    done
}

# have_criu: CRIU says that it works on this kernel; else the checks of checkpoints are skipped, with its reason.
have_criu() {
    local said
    said=$(timeout 30 criu check 2>&1) && return 0
    skip "checkpoint and restore" "criu does not work on this kernel: $(tail -n 1 <<<"$said")"
    return 1
}

# COUNTING: a shell script that counts in /tmp/count.
# shellcheck disable=SC2034
COUNTING='i=0; while :; do i=$((i + 1)); echo $i >/tmp/next; mv /tmp/next /tmp/count; sleep 0.1; done'

# image_folder DIR: a busybox root with a web page, the content of every image here.
image_folder() {
    local applet
    mkdir -p "$1"/{bin,etc,www,tmp,root,proc,sys,dev}
    cp "$(command -v busybox)" "$1/bin/busybox"
    chmod 1777 "$1/tmp"
    # The list names busybox itself too.
    for applet in $(busybox --list); do [ -e "$1/bin/$applet" ] || ln -s busybox "$1/bin/$applet"; done
    printf 'root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1000:web:/tmp:/bin/sh\n' >"$1/etc/passwd"
    printf 'root:x:0:\nweb:x:1000:\n' >"$1/etc/group"
    echo 'the lowest deck answers' >"$1/www/index.html"
    printf '#!/bin/sh\nexit 0\n' >"$1/bin/noexec"
    chmod 644 "$1/bin/noexec"
}

finish() {
    echo "$passed $failed $skipped" >/opt/work/report
    [ "$failed" = 0 ]
    exit
}
