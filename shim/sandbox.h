#ifndef XMPP443_SANDBOX_H
#define XMPP443_SANDBOX_H

/*
 * sandbox: takes from a process what it will not need any more.
 *
 * A seccomp(2) filter lets through the system calls that the process makes
 * while it runs; every other fails with EPERM. In particular no file is opened,
 * no program executed, no process made, no memory made executable, and no
 * socket made of another kind than those that serve. Landlock, where the
 * kernel has it (landlock(7)), closes the file system a second time, by
 * other means. With no_new_privs, and a few resource limits.
 *
 * Threads that are made afterwards inherit all of it. It cannot be taken back.
 */

enum sandbox_mode {
	SANDBOX_OFF,
	SANDBOX_ON,
	SANDBOX_LOG, /* what would be denied is allowed, and stands in the kernel's audit log; no Landlock */
};

/*
 * For the daemon, before its workers start. Later it may still make listeners,
 * sockets to backends and receivers, pipes and threads; read the state of a
 * file by its name; and make and remove Unix sockets in socket_dir, if that
 * is not NULL: the one of its metrics.
 *
 * *ret_landlock is the kernel's version of Landlock, 0 without. -ENOMEM, or a
 * negative errno of prctl(2), setrlimit(2), seccomp(2), landlock_restrict_self(2) or open(2)
 * of socket_dir: a part of it may be in force then.
 */
int sandbox_daemon(enum sandbox_mode mode, const char *socket_dir, int *ret_landlock);

/* For the process that opens the settings' file, reader.h: opens for reading, and sends descriptors. Errors as above. */
int sandbox_reader(enum sandbox_mode mode);

#endif
