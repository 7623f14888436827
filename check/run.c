#include "run.h"

#include "clock.h"
#include "mem.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* Reads until the end, or until the time is over: then false. */
static bool read_all(int fd, int64_t deadline, char *text)
{
	size_t used = 0;

	for (;;) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		int64_t left = deadline - clock_ms();
		char rest[512];
		bool full = used == RUN_OUTPUT_MAX;
		ssize_t n;

		if (left <= 0 || poll(&p, 1, (int)left) == 0)
			return false;
		n = read(fd, full ? rest : text + used, full ? sizeof(rest) : RUN_OUTPUT_MAX - used);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return true;
		used += full ? 0 : (size_t)n;
	}
}

static int spawn(const char *const *argv, int out, pid_t *ret)
{
	posix_spawn_file_actions_t actions;
	int err;

	if (posix_spawn_file_actions_init(&actions) != 0)
		return -ENOMEM;
	posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
	posix_spawn_file_actions_adddup2(&actions, out, STDERR_FILENO);
	err = posix_spawnp(ret, argv[0], &actions, NULL, (char *const *)argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	return -err;
}

int run_program(const char *const *argv, int timeout_ms, char **ret_text)
{
	int64_t deadline = clock_ms() + timeout_ms;
	int pipes[2], status = 0, err;
	bool in_time;
	pid_t pid;
	char *text;

	*ret_text = NULL;
	if (pipe2(pipes, O_CLOEXEC) < 0)
		return -errno;
	err = spawn(argv, pipes[1], &pid);
	close(pipes[1]);
	if (err < 0) {
		close(pipes[0]);
		return err;
	}
	text = mem_new(RUN_OUTPUT_MAX + 1);
	in_time = read_all(pipes[0], deadline, text);
	close(pipes[0]);
	if (!in_time)
		kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (!in_time) {
		free(text);
		return -ETIMEDOUT;
	}
	*ret_text = text;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}
