# shellcheck shell=bash
# user.bash: sourced; `become_user SCRIPT` makes an ordinary user and executes SCRIPT as that user.

# What an administrator gives to a user: ids, a home, a runtime directory, and devices that everybody may open.
become_user() {
    useradd --create-home --shell /bin/bash --uid 1000 sailor
    echo sailor:100000:65536 | tee /etc/subuid >/etc/subgid
    mount -t tmpfs -o mode=755,uid=1000,gid=1000 tmpfs /home/sailor
    mkdir -p /run/user/1000 /opt/devices
    mount -t tmpfs -o mode=700,uid=1000,gid=1000 tmpfs /run/user/1000
    mount -t tmpfs tmpfs /opt/devices
    mknod -m 666 /opt/devices/tun c 10 200 && mount --bind /opt/devices/tun /dev/net/tun
    mknod -m 666 /opt/devices/fuse c 10 229 && mount --bind /opt/devices/fuse /dev/fuse
    chown -R sailor: /opt/work
    cd /home/sailor || exit 1
    exec env -i PATH="$PATH" LC_ALL="$LC_ALL" HOME=/home/sailor USER=sailor XDG_RUNTIME_DIR=/run/user/1000 TERM=xterm \
        PODMAN_IGNORE_CGROUPSV1_WARNING=1 setpriv --reuid sailor --regid sailor --init-groups bash "$1"
}
