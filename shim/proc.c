#include "proc.h"

#include <dirent.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static double seconds(clockid_t clock)
{
	struct timespec ts;

	return clock_gettime(clock, &ts) < 0 ? -1 : (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

void proc_open(struct proc *p)
{
	p->fds_fd = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	p->statm_fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
	p->start = seconds(CLOCK_REALTIME);
}

void proc_close(struct proc *p)
{
	if (p->fds_fd >= 0)
		close(p->fds_fd);
	if (p->statm_fd >= 0)
		close(p->statm_fd);
	p->fds_fd = p->statm_fd = -1;
}

/* Counts the entries of the directory: for kernels that do not tell in its size. */
static int64_t count_entries(int fd)
{
	_Alignas(struct dirent64) char buf[8192];
	int64_t n = 0;
	long len;

	if (lseek(fd, 0, SEEK_SET) < 0)
		return -1;
	while ((len = syscall(SYS_getdents64, fd, buf, sizeof(buf))) > 0)
		for (long at = 0; at < len; n++) {
			const struct dirent64 *d = (const struct dirent64 *)(const void *)(buf + at);

			at += d->d_reclen;
		}
	return len < 0 ? -1 : n - 2; /* . and .. */
}

static int64_t count_fds(int fd)
{
	struct stat st;

	if (fd < 0)
		return -1;
	/* Linux 6.2 and later: at once, however many there are. */
	if (fstat(fd, &st) == 0 && st.st_size > 0)
		return st.st_size;
	return count_entries(fd);
}

/* The second number of /proc/self/statm, in pages. */
static int64_t read_resident(int fd)
{
	char text[128], *second;
	ssize_t n = fd >= 0 ? pread(fd, text, sizeof(text) - 1, 0) : -1;

	if (n <= 0)
		return -1;
	text[n] = '\0';
	second = strchr(text, ' ');
	return second == NULL ? -1 : strtoll(second, NULL, 10) * sysconf(_SC_PAGESIZE);
}

void proc_read(const struct proc *p, struct proc_numbers *ret)
{
	struct rlimit limit;

	*ret = (struct proc_numbers){
		.open_fds = count_fds(p->fds_fd),
		.max_fds = getrlimit(RLIMIT_NOFILE, &limit) == 0 ? (int64_t)limit.rlim_cur : -1,
		.resident_bytes = read_resident(p->statm_fd),
		.cpu = seconds(CLOCK_PROCESS_CPUTIME_ID),
		.start = p->start,
	};
}
