#include "privs.h"

#include <ctype.h>
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define RECORD_MAX 16384 /* a line of /etc/passwd or /etc/group, with all members */

/* An id in digits; false if it is none. (id_t)-1 is "no change" in setresuid(2). */
static bool number(const char *text, id_t *ret)
{
	unsigned long n;
	char *end;

	if (!isdigit((unsigned char)text[0]))
		return false;
	errno = 0;
	n = strtoul(text, &end, 10);
	if (errno != 0 || *end != '\0' || n >= (id_t)-1)
		return false;
	*ret = (id_t)n;
	return true;
}

int privs_find_user(const char *name, struct privs *p)
{
	struct passwd pw, *found = NULL;
	char *buf = malloc(RECORD_MAX);
	id_t id;
	int err;

	if (buf == NULL)
		return -ENOMEM;
	err = number(name, &id) ? getpwuid_r(id, &pw, buf, RECORD_MAX, &found) : getpwnam_r(name, &pw, buf, RECORD_MAX, &found);
	if (found != NULL) {
		p->uid = pw.pw_uid;
		p->gid = pw.pw_gid;
	}
	free(buf);
	if (found == NULL)
		return err != 0 ? -err : -ENOENT;
	return p->uid == 0 ? -EPERM : 0;
}

int privs_find_group(const char *name, struct privs *p)
{
	struct group gr, *found = NULL;
	char *buf = malloc(RECORD_MAX);
	id_t id;
	int err;

	if (buf == NULL)
		return -ENOMEM;
	err = number(name, &id) ? getgrgid_r(id, &gr, buf, RECORD_MAX, &found) : getgrnam_r(name, &gr, buf, RECORD_MAX, &found);
	if (found != NULL) {
		p->extra = gr.gr_gid;
		p->has_extra = true;
	}
	free(buf);
	return found != NULL ? 0 : err != 0 ? -err : -ENOENT;
}

/* glibc has no function for it, and libcap would be a dependency for this one call. */
static int drop_capabilities(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {0};

	return syscall(SYS_capset, &header, none) < 0 ? -errno : 0;
}

/* While there is CAP_SETPCAP. EINVAL: the kernel has no more of them. */
static int drop_bounding_set(void)
{
	for (unsigned long cap = 0; prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) == 0; cap++)
		;
	return errno == EINVAL ? 0 : -errno;
}

int privs_drop(const struct privs *p)
{
	int err = drop_bounding_set();

	if (err < 0)
		return err;
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    setgroups(p->has_extra ? 1 : 0, &p->extra) < 0 || setresgid(p->gid, p->gid, p->gid) < 0 ||
	    setresuid(p->uid, p->uid, p->uid) < 0)
		return -errno;
	/* Leaving uid 0 has emptied all but the inheritable set, and even that only without SECBIT_KEEP_CAPS. */
	err = drop_capabilities();
	if (err < 0)
		return err;
	return setuid(0) == 0 || setgid(0) == 0 ? -EPERM : 0; /* it must not have worked */
}
