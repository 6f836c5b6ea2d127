// Makes domains that never run beside domain 0, and may crash the host. Linked with the libxenctrl of the
// hypervisor that it runs under.
//
//     domains MARK:PAGES ... [destroy MARK:PAGES crash]
//
// Each domain's pages are filled with its mark. One behind `destroy` is destroyed again, and `crash` then crashes the
// host at once, before its pages are scrubbed.
#define XC_WANT_COMPAT_MAP_FOREIGN_API 1
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <xenctrl.h>

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static uint32_t make(xc_interface *xen, char *order) {
    char *colon = strchr(order, ':');
    if (!colon) fail("an order without pages");
    *colon = 0;
    unsigned long pages = strtoul(colon + 1, NULL, 10);
    struct xen_domctl_createdomain config;
    memset(&config, 0, sizeof config);
    config.max_vcpus = 1;
    config.max_evtchn_port = -1;
    config.max_grant_frames = 4;
    config.max_maptrack_frames = 4;
#ifdef XEN_DOMCTL_GRANT_version
    config.grant_opts = XEN_DOMCTL_GRANT_version(1);
#endif
    uint32_t id = 0;
    if (xc_domain_create(xen, &id, &config)) fail("creating a domain");
    if (xc_domain_setmaxmem(xen, id, pages * 4 + 1024)) fail("its size");
    xen_pfn_t *frames = calloc(pages, sizeof *frames);
    for (unsigned long n = 0; n < pages; n++) frames[n] = n;
    if (xc_domain_populate_physmap_exact(xen, id, pages, 0, 0, frames)) fail("its memory");
    for (unsigned long n = 0; n < pages; n++) {
        char *page = xc_map_foreign_range(xen, id, 4096, PROT_READ | PROT_WRITE, frames[n]);
        if (!page) fail("a page of it");
        for (int at = 0; at < 4096; at += 32) snprintf(page + at, 32, "%s %lu %d", order, n, at);
        munmap(page, 4096);
    }
    printf("VM: domain %u has %lu pages of %s\n", id, pages, order);
    free(frames);
    return id;
}

int main(int count, char **words) {
    xc_interface *xen = xc_interface_open(NULL, NULL, 0);
    if (!xen) fail("opening the hypervisor");
    int destroy = 0;
    for (int n = 1; n < count; n++) {
        if (!strcmp(words[n], "destroy")) destroy = 1;
        else if (!strcmp(words[n], "crash")) {
            printf("VM: the host crashes\n");
            fflush(stdout);
            if (xc_kexec_exec(xen, KEXEC_TYPE_CRASH)) fail("crashing the host");
        } else {
            uint32_t id = make(xen, words[n]);
            if (destroy && xc_domain_destroy(xen, id)) fail("destroying a domain");
        }
        fflush(stdout);
    }
    return 0;
}
