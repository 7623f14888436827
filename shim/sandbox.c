#include "sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <sched.h>
#include <seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* How far a call is allowed. */
enum check {
	ALWAYS,
	NOT_EXEC,    /* no PROT_EXEC in its third argument */
	OWN_THREADS, /* clone(2) with CLONE_THREAD: no new process */
	OWN_LIMITS,  /* prlimit(2) of this process */
	OWN_SIGNALS, /* tgkill(2) to this process */
	READ_ONLY,   /* openat(2) for reading */
	STREAMS,     /* socket(2): TCP, and Unix sockets of any type */
};

struct rule {
	int call;
	enum check check;
};

/* A call that the architecture does not have has a negative number, and libseccomp passes over it. */
#define CALL(name) SCMP_SYS(name), ALWAYS

static const struct rule common[] = {
	/* libc: memory, locks, the end */
	{CALL(brk)}, {CALL(munmap)}, {CALL(mremap)}, {CALL(madvise)},
	{SCMP_SYS(mmap), NOT_EXEC}, {SCMP_SYS(mmap2), NOT_EXEC}, {SCMP_SYS(mprotect), NOT_EXEC},
	{CALL(futex)}, {CALL(futex_time64)}, {CALL(restart_syscall)}, {CALL(exit)}, {CALL(exit_group)},
	/* signal handlers' return, and abort(3); AddressSanitizer's stack for them */
	{CALL(rt_sigreturn)}, {CALL(sigreturn)}, {CALL(rt_sigprocmask)}, {CALL(rt_sigaction)},
	{CALL(getpid)}, {CALL(gettid)}, {SCMP_SYS(tgkill), OWN_SIGNALS}, {CALL(sigaltstack)},
	/* messages, and descriptors that come with them */
	{CALL(recvfrom)}, {CALL(recvmsg)}, {CALL(sendmsg)}, {CALL(close)},
};

static const struct rule daemon_only[] = {
	/* new connections, and those to backends, receivers and the service manager; a reload's new listeners */
	{CALL(accept4)}, {CALL(accept)}, {SCMP_SYS(socket), STREAMS}, {CALL(connect)}, {CALL(bind)}, {CALL(listen)},
	{CALL(getsockname)}, {CALL(getpeername)}, {CALL(getsockopt)}, {CALL(setsockopt)}, {CALL(shutdown)},
	/* what goes to the service manager for safekeeping, see capsule.c */
	{CALL(socketpair)},
	/* relaying, the log, and the settings' file as reader.h gives it to us */
	{CALL(read)}, {CALL(write)}, {CALL(readv)}, {CALL(writev)}, {CALL(sendto)}, {CALL(splice)}, {CALL(pipe2)},
	{CALL(ioctl)},  /* SIOCOUTQ, FIONREAD */
	{CALL(fcntl)}, {CALL(fcntl64)}, /* F_SETPIPE_SZ; fdopen(3) */
	{CALL(lseek)}, {CALL(_llseek)}, {CALL(fstat)}, {CALL(fstat64)},
	/* who owns the directory of a receiver's socket, see control.c; fstat(3) is one of these on newer libcs */
	{CALL(newfstatat)}, {CALL(fstatat64)}, {CALL(statx)}, {CALL(stat)}, {CALL(stat64)}, {CALL(geteuid)}, {CALL(geteuid32)},
	/* the metrics' Unix socket: its mode, and its end; Landlock confines these to its directory */
	{CALL(chmod)}, {CALL(fchmodat)}, {CALL(unlink)}, {CALL(unlinkat)},
	/* the metrics' numbers of this process, see proc.c */
	{CALL(getdents64)}, {CALL(pread64)},
	/* the loops of the workers, also of those that a reload adds, and signals for the main thread */
	{CALL(epoll_create1)}, {CALL(epoll_ctl)}, {CALL(epoll_wait)}, {CALL(epoll_pwait)}, {CALL(poll)}, {CALL(ppoll)},
	{CALL(ppoll_time64)}, {CALL(eventfd2)}, {CALL(rt_sigtimedwait)}, {CALL(rt_sigtimedwait_time64)},
	{SCMP_SYS(clone), OWN_THREADS}, {CALL(set_robust_list)}, {CALL(rseq)}, {CALL(sched_getaffinity)},
	{SCMP_SYS(prlimit64), OWN_LIMITS},
	/* time, where the vDSO does not serve it, and random numbers for UNIQUE_ID */
	{CALL(clock_gettime)}, {CALL(clock_gettime64)}, {CALL(clock_nanosleep)}, {CALL(clock_nanosleep_time64)},
	{CALL(getrandom)},
};

static const struct rule reader_only[] = {
	{SCMP_SYS(openat), READ_ONLY},
};

static int add_rule(scmp_filter_ctx ctx, const struct rule *r)
{
	const uint64_t exec = PROT_EXEC, thread = CLONE_THREAD, self = (uint64_t)getpid();
	const uint64_t writes = O_ACCMODE | O_CREAT | O_TRUNC;
	int err = 0;

	switch (r->check) {
	case ALWAYS:
		return seccomp_rule_add(ctx, SCMP_ACT_ALLOW, r->call, 0);
	case NOT_EXEC:
		return seccomp_rule_add(ctx, SCMP_ACT_ALLOW, r->call, 1, SCMP_A2(SCMP_CMP_MASKED_EQ, exec, 0));
	case OWN_THREADS:
		return seccomp_rule_add(ctx, SCMP_ACT_ALLOW, r->call, 1, SCMP_A0(SCMP_CMP_MASKED_EQ, thread, thread));
	case OWN_LIMITS:
		return seccomp_rule_add(ctx, SCMP_ACT_ALLOW, r->call, 1, SCMP_A0(SCMP_CMP_EQ, 0));
	case OWN_SIGNALS:
		return seccomp_rule_add(ctx, SCMP_ACT_ALLOW, r->call, 1, SCMP_A0(SCMP_CMP_EQ, self));
	case READ_ONLY:
		return seccomp_rule_add(ctx, SCMP_ACT_ALLOW, r->call, 1, SCMP_A2(SCMP_CMP_MASKED_EQ, writes, O_RDONLY));
	case STREAMS:
		/* The type's upper bits are SOCK_NONBLOCK and SOCK_CLOEXEC. */
		err = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, r->call, 1, SCMP_A0(SCMP_CMP_EQ, AF_UNIX));
		for (uint64_t family = AF_INET; err == 0 && family <= AF_INET6; family += AF_INET6 - AF_INET)
			err = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, r->call, 2, SCMP_A0(SCMP_CMP_EQ, family),
					       SCMP_A1(SCMP_CMP_MASKED_EQ, 0xf, SOCK_STREAM));
		return err;
	}
	return err;
}

static int add_rules(scmp_filter_ctx ctx, const struct rule *rules, size_t n)
{
	int err = 0;

	for (size_t i = 0; err == 0 && i < n; i++)
		err = add_rule(ctx, &rules[i]);
	return err;
}

static int filter(enum sandbox_mode mode, const struct rule *rules, size_t n)
{
	scmp_filter_ctx ctx = seccomp_init(mode == SANDBOX_LOG ? SCMP_ACT_LOG : SCMP_ACT_ERRNO(EPERM));
	int err;

	if (ctx == NULL)
		return -ENOMEM;
	err = add_rules(ctx, common, sizeof(common) / sizeof(common[0]));
	if (err == 0)
		err = add_rules(ctx, rules, n);
	/*
	 * Its flags are in memory, where no filter can look. Without it libc
	 * falls back to clone(2), pthread_create(3) does.
	 */
	if (err == 0 && mode == SANDBOX_ON)
		err = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	/* A tree instead of a list; libseccomp before 2.5 has none. */
	seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (err == 0)
		err = seccomp_load(ctx);
	seccomp_release(ctx);
	return err;
}

/* All that may be done to files, by version: see landlock(7). Older headers lack the later ones. */
static uint64_t file_rights(int version)
{
	uint64_t rights = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1;

	if (version >= 2)
		rights |= 1ULL << 13; /* REFER */
	if (version >= 3)
		rights |= 1ULL << 14; /* TRUNCATE */
	if (version >= 5)
		rights |= 1ULL << 15; /* IOCTL_DEV */
	return rights;
}

/* Except that sockets may be made and removed in this directory. */
static int allow_sockets(int ruleset, const char *dir)
{
	struct landlock_path_beneath_attr beneath = {
		.allowed_access = LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_REMOVE_FILE,
		.parent_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC),
	};
	int err = 0;

	if (beneath.parent_fd < 0)
		return -errno;
	if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &beneath, 0) < 0)
		err = -errno;
	close(beneath.parent_fd);
	return err;
}

/* Denies what the rights name, below every directory. */
static int landlock(const char *socket_dir, int *ret_version)
{
	struct landlock_ruleset_attr attr = {0};
	int version = (int)syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	int fd, err = 0;

	*ret_version = 0;
	if (version < 0) /* the kernel has none, or it is switched off */
		return 0;
	attr.handled_access_fs = file_rights(version);
	fd = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr.handled_access_fs), 0);
	if (fd < 0)
		return -errno;
	if (socket_dir != NULL)
		err = allow_sockets(fd, socket_dir);
	if (err == 0 && syscall(SYS_landlock_restrict_self, fd, 0) < 0)
		err = -errno;
	if (err == 0)
		*ret_version = version;
	close(fd);
	return err;
}

/* Limits on what a process does not do that makes no file, locks no memory and has no message queues. */
static int limit(void)
{
	static const struct rlimit none = {0, 0};

	if (setrlimit(RLIMIT_MEMLOCK, &none) < 0 || setrlimit(RLIMIT_MSGQUEUE, &none) < 0)
		return -errno;
	return 0;
}

static int enter(enum sandbox_mode mode, const struct rule *rules, size_t n, const char *socket_dir, int *ret_landlock)
{
	int err;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	err = limit();
	if (err == 0 && ret_landlock != NULL && mode == SANDBOX_ON)
		err = landlock(socket_dir, ret_landlock);
	return err == 0 ? filter(mode, rules, n) : err;
}

int sandbox_daemon(enum sandbox_mode mode, const char *socket_dir, int *ret_landlock)
{
	*ret_landlock = 0;
	return mode == SANDBOX_OFF ? 0 : enter(mode, daemon_only, sizeof(daemon_only) / sizeof(daemon_only[0]), socket_dir,
					       ret_landlock);
}

int sandbox_reader(enum sandbox_mode mode)
{
	return mode == SANDBOX_OFF ? 0 : enter(mode, reader_only, sizeof(reader_only) / sizeof(reader_only[0]), NULL, NULL);
}
