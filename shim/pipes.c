#include "pipes.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

int pipes_get(struct pipes *p, int fd[2])
{
	int made[2];

	if (p->n > 0) {
		p->n--;
		fd[0] = p->fd[p->n][0];
		fd[1] = p->fd[p->n][1];
		return 0;
	}
	if (pipe2(made, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	/* May fail, pipe-user-pages-soft in pipe(7): a small pipe only takes more rounds. */
	fcntl(made[1], F_SETPIPE_SZ, PIPES_SIZE);
	fd[0] = made[0];
	fd[1] = made[1];
	return 0;
}

void pipes_put(struct pipes *p, int fd[2], bool empty)
{
	if (fd[0] < 0)
		return;
	if (empty && p->n < PIPES_STOCK) {
		p->fd[p->n][0] = fd[0];
		p->fd[p->n][1] = fd[1];
		p->n++;
	} else {
		close(fd[0]);
		close(fd[1]);
	}
	fd[0] = fd[1] = -1;
}

void pipes_close(struct pipes *p)
{
	while (p->n > 0) {
		p->n--;
		close(p->fd[p->n][0]);
		close(p->fd[p->n][1]);
	}
}
