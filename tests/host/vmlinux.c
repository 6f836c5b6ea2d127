/* What a kernel has that VMCOREINFO tells of, as little as there may be of it. */
typedef struct { int counter; } atomic_t;
typedef struct { long counter; } atomic_long_t;
typedef struct { unsigned long bits[2]; } nodemask_t;
struct list_head { struct list_head *next, *prev; };
enum pageflags { PG_locked, PG_lru = 5, PG_head, PG_private = 14, PG_swapbacked = 17, PG_swapcache = 10 };
enum pagetype { PGTY_buddy = 0xf0, PGTY_offline = 0xf1 };
enum zone_stat_item { NR_FREE_PAGES, NR_OTHERS };
enum node_states { N_POSSIBLE, N_ONLINE, NR_NODE_STATES };

/* Members of members without a name are its own, however deep; a bit field lies in front. */
struct page {
	unsigned long flags;
	union {
		struct {
			union {
				struct list_head lru;
				struct { void *filler; unsigned int mlock_count; };
			};
			void *mapping;
			unsigned long index;
			unsigned long private;
		};
		struct { unsigned long compound_head; };
	};
	union { atomic_t _mapcount; const unsigned int page_type; };
	volatile atomic_t _refcount;
};

struct free_area { struct list_head free_list[6]; unsigned long nr_free; };

/* A member of a named member is another's: it must not be found here. */
struct inner { unsigned long spanned_pages; };
struct zone {
	struct inner not_this_one;
	unsigned low : 3, high : 5;
	const unsigned long spanned_pages;
	struct free_area free_area[11];
};

struct pglist_data { struct zone node_zones[4]; int nr_zones; };
struct mem_section { unsigned long section_mem_map, *usage; };
struct dev_printk_info { char subsystem[16]; char device[48]; };
struct declared_only;

const char linux_banner[] = "Linux version 6.12.0-made-up (a@b) (a compiler) #1";
char empty_zero_page[4096] __attribute__((aligned(4096)));
struct pglist_data *node_data[64];
nodemask_t node_states[3];
struct mem_section **mem_section;
static int clear_seq;
int init_top_pgt[1024];
struct declared_only *declared;

struct { struct page a; struct zone b; struct pglist_data c; struct mem_section d; struct dev_printk_info e;
	atomic_long_t f; enum pageflags g; enum pagetype h; enum zone_stat_item i; enum node_states j; } used;

void _stext(void) { used.c.nr_zones = clear_seq++; }
