#include "procs.h"

#include "clean.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static FILE *open_file(pid_t pid, const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	return fopen(path, "re");
}

/* Numbers with blanks between. */
static void read_groups(const char *text, struct procs_one *p)
{
	char *end;

	for (;;) {
		unsigned long group = strtoul(text, &end, 10);

		if (end == text || p->n_groups == PROCS_GROUPS_MAX)
			return;
		p->groups[p->n_groups++] = (gid_t)group;
		text = end;
	}
}

/* The second of four ids: the effective one. */
static unsigned second(const char *text)
{
	char *end;

	strtoul(text, &end, 10);
	return (unsigned)strtoul(end, NULL, 10);
}

static bool read_status(pid_t pid, struct procs_one *p)
{
	FILE *f = open_file(pid, "status");
	char line[2048];

	if (f == NULL)
		return false;
	while (fgets(line, sizeof(line), f) != NULL) {
		if (strncmp(line, "Name:\t", 6) == 0)
			clean_text(p->name, sizeof(p->name), line + 6, strcspn(line + 6, "\n"));
		else if (strncmp(line, "Uid:", 4) == 0)
			p->uid = second(line + 4);
		else if (strncmp(line, "Gid:", 4) == 0)
			p->gid = second(line + 4);
		else if (strncmp(line, "Groups:", 7) == 0)
			read_groups(line + 7, p);
	}
	fclose(f);
	return true;
}

static long read_fd_limit(pid_t pid)
{
	static const char key[] = "Max open files";
	FILE *f = open_file(pid, "limits");
	char line[256], *end;
	long limit = -1;

	if (f == NULL)
		return -1;
	while (fgets(line, sizeof(line), f) != NULL) {
		if (strncmp(line, key, sizeof(key) - 1) != 0)
			continue;
		limit = strtol(line + sizeof(key) - 1, &end, 10);
		if (end == line + sizeof(key) - 1)
			limit = LONG_MAX; /* "unlimited" */
	}
	fclose(f);
	return limit;
}

static long count_fds(pid_t pid)
{
	char path[64];
	DIR *d;
	long n = 0;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	d = opendir(path);
	if (d == NULL)
		return -1;
	for (struct dirent *e = readdir(d); e != NULL; e = readdir(d))
		n += e->d_name[0] != '.';
	closedir(d);
	return n;
}

bool procs_read(pid_t pid, struct procs_one *ret)
{
	*ret = (struct procs_one){.pid = pid};
	if (!read_status(pid, ret))
		return false;
	ret->fd_limit = read_fd_limit(pid);
	ret->fds = count_fds(pid);
	return true;
}

/* Containers and tests have processes of the same names in networks of their own. */
static bool in_our_network(pid_t pid)
{
	struct stat ours, theirs;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)pid);
	if (stat("/proc/self/ns/net", &ours) < 0 || stat(path, &theirs) < 0)
		return errno == EACCES; /* without the right to know */
	return ours.st_ino == theirs.st_ino && ours.st_dev == theirs.st_dev;
}

bool procs_find(const char *name, struct procs_one *ret)
{
	DIR *d = opendir("/proc");
	bool found = false;

	if (d == NULL)
		return false;
	for (struct dirent *e = readdir(d); e != NULL && !found; e = readdir(d)) {
		char *end;
		long pid = strtol(e->d_name, &end, 10);

		if (!isdigit((unsigned char)e->d_name[0]) || *end != '\0')
			continue;
		found = in_our_network((pid_t)pid) && procs_read((pid_t)pid, ret) && strncmp(ret->name, name, sizeof(ret->name) - 2) == 0;
	}
	closedir(d);
	return found;
}

bool procs_may(const struct procs_one *p, uid_t owner, gid_t group, mode_t mode, int what)
{
	bool in_group = p->gid == group;

	if (p->uid == 0)
		return true;
	for (size_t i = 0; i < p->n_groups; i++)
		in_group = in_group || p->groups[i] == group;
	if (p->uid == owner)
		mode >>= 6;
	else if (in_group)
		mode >>= 3;
	return (mode & (mode_t)what) == (mode_t)what;
}
