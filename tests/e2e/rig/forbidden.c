/*
 * Loaded into the daemon by LD_PRELOAD: on SIGUSR2 the thread that gets it
 * tries what a daemon under attack might be made to do, and writes one line
 * with the outcome of each: 0, or an errno.
 */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int outcome(long result)
{
	return result < 0 ? errno : 0;
}

static int make_process(void)
{
	long pid = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);

	if (pid == 0)
		_exit(0);
	return outcome(pid);
}

static int make_code(void)
{
	return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? errno : 0;
}

static void on_signal(int number)
{
	static char *const argv[] = {"true", NULL};
	char line[400];
	int len, saved = errno;

	(void)number;
	len = snprintf(line, sizeof(line),
		       "tried open=%d write=%d mkdir=%d process=%d code=%d udp=%d raw=%d netlink=%d kill=%d trace=%d setuid=%d exec=%d\n",
		       outcome(open("/etc/passwd", O_RDONLY)), outcome(open("/dev/null", O_WRONLY)),
		       outcome(mkdir("/tmp/xmpp443-forbidden", 0700)), make_process(), make_code(),
		       outcome(socket(AF_INET, SOCK_DGRAM, 0)), outcome(socket(AF_INET, SOCK_RAW, 1)),
		       outcome(socket(AF_NETLINK, SOCK_RAW, 0)), outcome(kill(1, 0)), outcome(ptrace(PTRACE_TRACEME, 0, 0, 0)),
		       outcome(setuid(0)), outcome(execve("/bin/true", argv, argv + 1)));
	if (write(STDERR_FILENO, line, (size_t)len) != len)
		_exit(1);
	errno = saved;
}

__attribute__((constructor)) static void install(void)
{
	struct sigaction action = {.sa_handler = on_signal};

	sigaction(SIGUSR2, &action, NULL);
}
