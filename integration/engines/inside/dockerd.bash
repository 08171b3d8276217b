# shellcheck shell=bash
# dockerd.bash: sourced; configures Docker Engine with the runtime under test, and `daemon [OPTION…]` starts it and waits for it.
mkdir -p /etc/docker
how="{\"path\": \"$RUNTIME\"}"
if [ -z "${ORLOP_SHIM:-}" ]; then
    :
elif [ "$(dockerd --version | sed -n 's/.*version \([0-9]*\).*/\1/p')" -ge 23 ]; then
    how='{"runtimeType": "io.containerd.orlop.v2"}'
else
    skip "docker" "Docker before 23 knows no shims but those of runc"
    finish
fi
cat >/etc/docker/daemon.json <<JSON
{
  "experimental": true,
  "default-runtime": "orlop",
  "runtimes": {"orlop": $how},
  "exec-opts": ["native.cgroupdriver=cgroupfs"],
  "cgroup-parent": "/$ENGINE_RUN-docker",
  "live-restore": true,
  "userland-proxy": true
}
JSON
# nft first; a kernel without the nft compat layer has the legacy tables.
if ! iptables -t nat -L >/dev/null 2>&1; then
    update-alternatives --set iptables /usr/sbin/iptables-legacy >/dev/null
fi
daemon() {
    dockerd "$@" >>"$LOG/dockerd.log" 2>&1 &
    dockerd=$!
    within 60 docker version
}
