#include "proc.h"

#include "support.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

/* count_fds() counts ., .. and its own one too. */

static void the_numbers_are_those_of_this_process(void **state)
{
	struct proc_numbers before, after;
	struct rlimit limit;
	struct proc p;
	int fd[100];
	char *memory;

	(void)state;
	proc_open(&p);
	proc_read(&p, &before);
	assert_int_equal(before.open_fds, count_fds() - 3);
	for (int i = 0; i < 100; i++)
		fd[i] = dup(STDIN_FILENO);
	memory = malloc(40000000);
	assert_non_null(memory);
	memset(memory, 1, 40000000);
	proc_read(&p, &after);
	free(memory);
	for (int i = 0; i < 100; i++)
		close(fd[i]);
	assert_int_equal(after.open_fds, before.open_fds + 100);
	assert_true(after.resident_bytes > before.resident_bytes + 30000000);
	assert_true(after.cpu > before.cpu && before.cpu > 0);
	assert_true(after.start == before.start && after.start <= (double)time(NULL) + 1 && after.start > 1.7e9);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_int_equal(after.max_fds, limit.rlim_cur);
	proc_close(&p);
	proc_close(&p);
}

static void descriptors_are_counted_on_kernels_that_do_not_tell_how_many(void **state)
{
	struct proc_numbers n;
	struct proc p;
	int fd[500], more = 0;

	(void)state;
	proc_open(&p);
	close(p.fds_fd);
	/* Its size is not the number of what is in it, as before Linux 6.2. */
	p.fds_fd = open("/proc/self/fdinfo", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(p.fds_fd >= 0);
	for (; more < 500; more++)
		fd[more] = dup(STDIN_FILENO);
	proc_read(&p, &n);
	assert_int_equal(n.open_fds, count_fds() - 3);
	proc_read(&p, &n);
	assert_int_equal(n.open_fds, count_fds() - 3);
	while (more > 0)
		close(fd[--more]);
	proc_close(&p);
}

static void without_proc_what_is_known_is_told(void **state)
{
	const struct proc none = {.fds_fd = -1, .statm_fd = -1, .start = 5};
	struct proc odd = {.fds_fd = open("/dev/null", O_RDONLY | O_CLOEXEC), .statm_fd = open("/dev/null", O_RDONLY | O_CLOEXEC)};
	struct proc_numbers n;

	(void)state;
	proc_read(&none, &n);
	assert_int_equal(n.open_fds, -1);
	assert_int_equal(n.resident_bytes, -1);
	assert_true(n.start == 5 && n.max_fds > 0);
	proc_read(&odd, &n);
	assert_int_equal(n.open_fds, -1);
	assert_int_equal(n.resident_bytes, -1);
	proc_close(&odd);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(the_numbers_are_those_of_this_process),
		TEST(descriptors_are_counted_on_kernels_that_do_not_tell_how_many),
		TEST(without_proc_what_is_known_is_told),
	};

	return cmocka_run_group_tests_name("proc", tests, group_begin, NULL);
}
