#include "keeper.h"

#include "log.h"
#include "notify.h"
#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define NAME_MAX_LEN 255  /* sd_notify(3) */
#define REST_MS      1000 /* before a child that did not live so long is followed by another */
#define USAGE        1    /* its exit code if the settings are wrong */

struct held {
	char *name;
	int fd;
};

struct keeper {
	char **argv;
	char program[4096];
	sigset_t old_mask;
	int notify, signals;
	char address[32];   /* for NOTIFY_SOCKET */
	struct held *held;
	size_t n, size;
	pid_t child;        /* 0: none */
	bool ready;         /* some child has once been */
	bool ending, replacing;
	struct timespec started;
};

static void close_all(const int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++)
		close(fds[i]);
}

/* Takes ownership of fd. */
static void hold(struct keeper *k, const char *name, int fd)
{
	if (k->n == k->size) {
		struct held *more = realloc(k->held, (k->size + 256) * sizeof(*more));

		if (more == NULL) {
			close(fd);
			return;
		}
		k->held = more;
		k->size += 256;
	}
	k->held[k->n] = (struct held){.name = strdup(name), .fd = fd};
	if (k->n >= STORE_MAX || k->held[k->n].name == NULL) {
		free(k->held[k->n].name);
		close(fd);
		return;
	}
	k->n++;
}

static void let_go(struct keeper *k, const char *name)
{
	size_t n = 0;

	for (size_t i = 0; i < k->n; i++) {
		if (strcmp(k->held[i].name, name) != 0) {
			k->held[n++] = k->held[i];
			continue;
		}
		close(k->held[i].fd);
		free(k->held[i].name);
	}
	k->n = n;
}

/* One message of the child: lines of text. Takes ownership of the descriptors. */
static void on_message(struct keeper *k, char *text, const int *fds, size_t n)
{
	const char *name = "stored";
	bool store = false, drop = false;

	for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
		if (strcmp(line, "READY=1") == 0)
			k->ready = true;
		else if (strcmp(line, "FDSTORE=1") == 0)
			store = true;
		else if (strcmp(line, "FDSTOREREMOVE=1") == 0)
			drop = true;
		else if (strncmp(line, "FDNAME=", 7) == 0 && strlen(line + 7) <= NAME_MAX_LEN && strchr(line, ':') == NULL)
			name = line + 7;
	}
	if (drop)
		let_go(k, name);
	if (!store || drop) { /* also BARRIER=1: that they are closed is the answer */
		close_all(fds, n);
		return;
	}
	for (size_t i = 0; i < n; i++)
		hold(k, name, fds[i]);
}

/* Everything that the child, and nobody else, has sent. */
static void read_messages(struct keeper *k)
{
	for (;;) {
		union {
			char buf[CMSG_SPACE(NOTIFY_FDS_MAX * sizeof(int)) + CMSG_SPACE(sizeof(struct ucred))];
			struct cmsghdr align;
		} control;
		char text[4096];
		struct iovec iov = {.iov_base = text, .iov_len = sizeof(text) - 1};
		struct msghdr msg = {
			.msg_iov = &iov,
			.msg_iovlen = 1,
			.msg_control = control.buf,
			.msg_controllen = sizeof(control.buf),
		};
		int fds[NOTIFY_FDS_MAX];
		size_t n_fds = 0;
		struct ucred cred = {0};
		ssize_t n = recvmsg(k->notify, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return;
		for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c != NULL; c = CMSG_NXTHDR(&msg, c)) {
			if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_CREDENTIALS)
				memcpy(&cred, CMSG_DATA(c), sizeof(cred));
			if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
				continue;
			n_fds = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
			memcpy(fds, CMSG_DATA(c), n_fds * sizeof(int));
		}
		text[n] = '\0';
		if (k->child == 0 || cred.pid != k->child || (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)))
			close_all(fds, n_fds);
		else
			on_message(k, text, fds, n_fds);
	}
}

/* In the child: the descriptors to 3 and up, their names and ours into the environment. Does not return. */
static void become_child(struct keeper *k)
{
	size_t len = sizeof("LISTEN_FDNAMES"), at = 0;
	char number[16], *names;
	int *high = calloc(k->n + 1, sizeof(*high));

	for (size_t i = 0; i < k->n; i++)
		len += strlen(k->held[i].name) + 1;
	names = calloc(1, len);
	if (names == NULL || high == NULL)
		_exit(2);
	/* Out of the way first: the place of one may be taken by another that has not moved yet. */
	for (size_t i = 0; i < k->n; i++) {
		high[i] = fcntl(k->held[i].fd, F_DUPFD_CLOEXEC, NOTIFY_FDS_START + (int)k->n);
		if (high[i] < 0)
			_exit(2);
		at += (size_t)sprintf(names + at, "%s%s", i > 0 ? ":" : "", k->held[i].name);
	}
	for (size_t i = 0; i < k->n; i++)
		if (dup2(high[i], NOTIFY_FDS_START + (int)i) < 0)
			_exit(2);
	snprintf(number, sizeof(number), "%ld", (long)getpid());
	setenv("LISTEN_PID", number, 1);
	snprintf(number, sizeof(number), "%zu", k->n);
	setenv("LISTEN_FDS", number, 1);
	setenv("LISTEN_FDNAMES", names, 1);
	setenv("NOTIFY_SOCKET", k->address, 1);
	sigprocmask(SIG_SETMASK, &k->old_mask, NULL);
	prctl(PR_SET_PDEATHSIG, SIGTERM); /* without us it could not be found by whoever started us */
	execv(k->program, k->argv);
	_exit(2);
}

static void start_child(struct keeper *k)
{
	pid_t pid = fork();

	if (pid == 0)
		become_child(k);
	clock_gettime(CLOCK_MONOTONIC, &k->started);
	k->child = pid > 0 ? pid : 0;
	if (pid < 0)
		log_line(LOG_LEVEL_ERROR, "event=start-failed error=\"%s\"", strerror(errno));
}

/* The exit code if the end of the child is the end of us, else -1. */
static int on_child_ended(struct keeper *k, int status)
{
	int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);

	k->child = 0;
	if (k->ending)
		return code;
	if (!k->ready) /* the user is there and sees why */
		return code;
	if (!k->replacing)
		log_line(LOG_LEVEL_ERROR, "event=worker-died status=%d stored=%zu", code, k->n);
	return -1;
}

static void on_signal(struct keeper *k, int sig)
{
	switch (sig) {
	case SIGHUP:
		if (k->child > 0)
			kill(k->child, SIGHUP);
		return;
	case SIGUSR2:
		k->replacing = true;
		log_line(LOG_LEVEL_NOTICE, "event=replacing");
		break;
	case SIGCHLD:
		return;
	default:
		k->ending = true;
	}
	if (k->child > 0)
		kill(k->child, SIGTERM);
}

static int milliseconds_since(const struct timespec *t)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec - t->tv_sec > 3600 ? 3600000
					     : (int)((now.tv_sec - t->tv_sec) * 1000 + (now.tv_nsec - t->tv_nsec) / 1000000);
}

static int watch(struct keeper *k)
{
	for (;;) {
		struct pollfd p[2] = {{.fd = k->notify, .events = POLLIN}, {.fd = k->signals, .events = POLLIN}};
		struct signalfd_siginfo info;
		int status, rest = 0, code;

		if (k->child == 0 && k->ending)
			return 0;
		if (k->child == 0) {
			rest = k->replacing ? 0 : REST_MS - milliseconds_since(&k->started);
			if (rest <= 0) {
				k->replacing = false;
				start_child(k);
				rest = REST_MS;
			}
		}
		poll(p, 2, k->child == 0 ? rest : -1);
		while (read(k->signals, &info, sizeof(info)) == sizeof(info))
			on_signal(k, (int)info.ssi_signo);
		/* What a child has sent counts also if it is dead by now; so this comes before its end. */
		read_messages(k);
		if (k->child > 0 && waitpid(k->child, &status, WNOHANG) == k->child) {
			read_messages(k);
			code = on_child_ended(k, status);
			if (code >= 0)
				return code;
		}
	}
}

/* The abstract socket's name is the kernel's choice, unix(7), autobind. */
static int open_notify(struct keeper *k)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	socklen_t len = sizeof(un);
	int on = 1, size = 8 * 1024 * 1024;

	k->notify = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (k->notify < 0 || setsockopt(k->notify, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0 ||
	    bind(k->notify, (struct sockaddr *)&un, sizeof(un.sun_family)) < 0 ||
	    getsockname(k->notify, (struct sockaddr *)&un, &len) < 0)
		return -errno;
	setsockopt(k->notify, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	len -= (socklen_t)offsetof(struct sockaddr_un, sun_path);
	if (len < 2 || len > sizeof(k->address) - 1)
		return -EINVAL;
	memcpy(k->address, un.sun_path, len);
	k->address[0] = '@';
	k->address[len] = '\0';
	return 0;
}

static int set_up(struct keeper *k)
{
	struct rlimit limit;
	sigset_t set;
	ssize_t len = readlink("/proc/self/exe", k->program, sizeof(k->program) - 1);
	int err = len < 0 ? -errno : open_notify(k);

	if (err < 0)
		return err;
	k->program[len] = '\0';
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	sigemptyset(&set);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGUSR2);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, &k->old_mask);
	k->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return k->signals < 0 ? -errno : 0;
}

int keeper_run(char **argv, int first, int n, const char *names)
{
	struct keeper k = {.argv = argv, .notify = -1, .signals = -1};
	int err = set_up(&k), code = 2;

	for (int fd = first; fd < first + n; fd++, names = notify_next_name(names))
		hold(&k, names, fd);
	if (err < 0) {
		log_line(LOG_LEVEL_ERROR, "event=start-failed error=\"%s\"", strerror(-err));
	} else {
		start_child(&k);
		code = k.child > 0 ? watch(&k) : 2;
	}
	for (size_t i = 0; i < k.n; i++) {
		close(k.held[i].fd);
		free(k.held[i].name);
	}
	free(k.held);
	if (k.notify >= 0)
		close(k.notify);
	if (k.signals >= 0)
		close(k.signals);
	return code;
}
