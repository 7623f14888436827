#include "pipes.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define SKIP 64 /* after a failure: making a pipe in vain costs five calls of the kernel */

static void pipe_free(struct pipe *pipe)
{
	close(pipe->fd[0]);
	close(pipe->fd[1]);
	free(pipe);
}

static struct pipe *pipe_new(void)
{
	struct pipe *pipe = malloc(sizeof(*pipe));

	if (pipe == NULL)
		return NULL;
	*pipe = (struct pipe){0};
	if (pipe2(pipe->fd, O_CLOEXEC | O_NONBLOCK) < 0) {
		free(pipe);
		return NULL;
	}
	/* Beyond pipe-user-pages-soft growing is refused, and new pipes have one or two pages. */
	if (fcntl(pipe->fd[1], F_SETPIPE_SZ, PIPES_SIZE) < 0 && fcntl(pipe->fd[1], F_GETPIPE_SZ) < PIPES_ROOM) {
		pipe_free(pipe);
		return NULL;
	}
	return pipe;
}

bool pipes_ready(struct pipes *p)
{
	struct pipe *pipe;

	if (p->first != NULL)
		return true;
	if (p->skip > 0) {
		p->skip--;
		return false;
	}
	pipe = pipe_new();
	if (pipe == NULL)
		p->skip = SKIP;
	pipes_put(p, pipe);
	return pipe != NULL;
}

struct pipe *pipes_get(struct pipes *p)
{
	struct pipe *pipe;

	if (!pipes_ready(p))
		return NULL;
	pipe = p->first;
	p->first = pipe->next;
	p->n--;
	return pipe;
}

void pipes_put(struct pipes *p, struct pipe *pipe)
{
	if (pipe == NULL)
		return;
	if (pipe->len > 0 || p->n == PIPES_STOCK) {
		pipe_free(pipe);
		return;
	}
	pipe->next = p->first;
	p->first = pipe;
	p->n++;
}

void pipes_close(struct pipes *p)
{
	while (p->n > 0)
		pipe_free(pipes_get(p));
}
