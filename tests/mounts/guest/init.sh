#!/bin/bash
# The first process of the guest: makes a file server and two clients of it, runs the job, and powers off.
#
# The guest's root is the host's own file system, read-only. What is written goes to file systems in memory, and to
# /run/exchange, which is the run's folder on the host; the word exchange=FOLDER on the kernel's command line names it.
#
#   server   this network namespace: nfsd and smbd over /mnt/export, an ext4 file system
#   a, b, c  a network namespace and a host name each, as three workstations have: `nsenter --net=/run/net/a --uts=/run/uts/a`
set -u
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/run/home TMPDIR=/run/tmp

mount -t proc proc /proc
mount -t sysfs sys /sys
for folder in /run /mnt /var/lib/nfs; do mount -t tmpfs -o mode=755 tmpfs $folder; done
mkdir -p /run/{home,tmp,exchange,net,uts,lock,modules/lib/modules,nfs,smb/{private,lock,state,cache,pid,ncalrpc}} /dev/shm
mount -t tmpfs tmpfs /dev/shm
mount -t hostfs -o "$exchange" none /run/exchange
exec >>/run/exchange/console 2>&1 </dev/null

off() {
    echo "the guest powers off after $(cut -d' ' -f1 /proc/uptime) s"
    sync
    echo o >/proc/sysrq-trigger
    sleep 60
}
trap off EXIT

fail() { echo "the guest is not ready: $*"; exit 1; }

# The modules of this kernel are not where kmod, and the kernel itself, look for them.
ln -s "/usr/lib/uml/modules/$(uname -r)" /run/modules/lib/modules/
printf '#!/bin/sh\nexec /sbin/modprobe -d /run/modules "$@"\n' >/run/modprobe
chmod +x /run/modprobe
echo /run/modprobe >/proc/sys/kernel/modprobe
for module in nfsd nfsv3 nfsv4 cifs loop ext4 veth; do /run/modprobe $module || fail "no module $module"; done

# Addresses: the server is 10.9.1.1 for client a, which is 10.9.1.2; and so on.
hostname server
ip link set lo up
number=1
for client in a b c; do
    touch /run/net/$client /run/uts/$client
    unshare --net=/run/net/$client --uts=/run/uts/$client hostname "client-$client"
    ip link add "to-$client" type veth peer name uplink netns /run/net/$client
    ip addr add 10.9.$number.1/24 dev "to-$client"
    ip link set "to-$client" up
    nsenter --net=/run/net/$client sh -c "ip link set lo up; ip addr add 10.9.$number.2/24 dev uplink; ip link set uplink up"
    number=$((number + 1))
done

mkdir -p /mnt/export
truncate -s 256M /run/disk
mkfs.ext4 -q /run/disk && mount -o loop /run/disk /mnt/export || fail "no disk"
chmod 777 /mnt/export

# A lease and a grace period of 10 s, the shortest that nfsd takes, instead of 90 s.
mount -t nfsd nfsd /proc/fs/nfsd
mkdir -p /var/lib/nfs/{v4recovery,rpc_pipefs,sm,sm.bak,nfsdcltrack}
mount -t rpc_pipefs rpc /var/lib/nfs/rpc_pipefs
touch /var/lib/nfs/{etab,rmtab}
# The locks of NFS 3 are asked for over a protocol of their own, with a port that rpcbind knows and a statd on each
# machine. The kernel reaches one rpcbind for all machines through its socket, so the port is the same on all.
# Its grace period would be 50 s.
sysctl -qw fs.nfs.nlm_tcpport=4045 fs.nfs.nlm_udpport=4045 fs.nfs.nlm_grace_period=1
echo 10 >/proc/fs/nfsd/nfsv4leasetime
echo 10 >/proc/fs/nfsd/nfsv4gracetime
rpcbind
rpc.statd -p 4046
for client in a b c; do
    nsenter --net=/run/net/$client --uts=/run/uts/$client unshare --mount sh -c '
        mount -t tmpfs tmpfs /run; mount -t tmpfs tmpfs /var/lib/nfs; mkdir /var/lib/nfs/sm /var/lib/nfs/sm.bak
        rpcbind; rpc.statd -p 4046'
done
exportfs -o rw,sync,no_root_squash,no_subtree_check,fsid=0,insecure '*:/mnt/export'
rpc.mountd -N 2
rpc.nfsd -V 3 -V 4 8 || fail "no nfsd"
echo Y >/proc/fs/nfsd/v4_end_grace

# keepalive frees the locks of a vanished client after 11 s
cat >/run/smb/smb.conf <<'CONF'
[global]
server role = standalone server
workgroup = LAB
netbios name = LABSERVER
disable netbios = yes
smb ports = 445
map to guest = never
strict sync = yes
posix locking = yes
socket options = TCP_NODELAY TCP_KEEPIDLE=5 TCP_KEEPINTVL=2 TCP_KEEPCNT=3
private dir = /run/smb/private
lock directory = /run/smb/lock
state directory = /run/smb/state
cache directory = /run/smb/cache
pid directory = /run/smb/pid
ncalrpc dir = /run/smb/ncalrpc
log file = /run/smb/log
passdb backend = tdbsam:/run/smb/private/passdb.tdb
load printers = no
disable spoolss = yes
[lab]
path = /mnt/export
read only = no
[mixed]
path = /mnt/export
read only = no
veto oplock files = /*.lock/
[closed]
path = /mnt/export
read only = no
CONF
printf 'pw\npw\n' | pdbedit -s /run/smb/smb.conf -a -t -u root >/dev/null || fail "no account"
smbd -D -l /run/smb -s /run/smb/smb.conf || fail "no smbd"

echo "the guest is ready after $(cut -d' ' -f1 /proc/uptime) s"
bash /run/exchange/job
echo $? >/run/exchange/status
