#ifndef XMPP443_LIST_H
#define XMPP443_LIST_H

/* list: a doubly linked list whose links are in its members. */

#include <stdbool.h>
#include <stddef.h>

/* A member's link, or the list itself: then next is the first member and prev the last. */
struct list {
	struct list *prev, *next;
};

#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr) - offsetof(type, member)))

static inline void list_init(struct list *l)
{
	l->prev = l->next = l;
}

static inline bool list_empty(const struct list *l)
{
	return l->next == l;
}

/* Puts link between prev and prev's next one. */
static inline void list_add_after(struct list *prev, struct list *link)
{
	link->prev = prev;
	link->next = prev->next;
	prev->next->prev = link;
	prev->next = link;
}

static inline void list_add_first(struct list *l, struct list *link)
{
	list_add_after(l, link);
}

static inline void list_add_last(struct list *l, struct list *link)
{
	list_add_after(l->prev, link);
}

static inline void list_remove(struct list *link)
{
	link->prev->next = link->next;
	link->next->prev = link->prev;
}

#endif
