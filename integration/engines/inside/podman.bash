# shellcheck shell=bash
# podman.bash: sourced; configures Podman for root with the runtime under test.
mkdir -p /etc/containers
cat >/etc/containers/containers.conf <<TOML
[containers]
# A machine without CAP_SYS_RESOURCE cannot raise its limits.
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
netns = "private"
[network]
network_backend = "netavark"
[engine]
runtime = "orlop"
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime_supports_json = ["orlop", "runc", "crun"]
runtime_supports_nocgroup = ["orlop", "crun"]
[engine.runtimes]
orlop = ["$RUNTIME"]
TOML
printf '[storage]\ndriver = "overlay"\nrunroot = "/run/containers/storage"\ngraphroot = "/var/lib/containers/storage"\n' >/etc/containers/storage.conf
echo '{"default": [{"type": "insecureAcceptAnything"}]}' >/etc/containers/policy.json

