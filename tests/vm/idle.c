/* PID 1 of a crash kernel that does next to nothing: the measure of what that kernel itself needs.
 * It loads the modules of /etc/tamis.modules, mounts /dev/vdb, copies 1 MiB of /proc/vmcore there,
 * and starts the machine again. `tests/vm/vm floor` builds it with musl-gcc. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <sys/syscall.h>
#include <unistd.h>

static char text[4096], block[65536];
static struct sysinfo first, last;
static unsigned long least = -1UL;

static void look(void)
{
	sysinfo(&last);
	if (last.freeram < least)
		least = last.freeram;
}

static const char *work(void)
{
	int in, out;
	char *path, *end;

	in = open("/etc/tamis.modules", O_RDONLY);
	if (in < 0 || read(in, text, sizeof text - 1) < 0)
		return "the list of modules";
	for (path = text; (end = strchr(path, '\n')); path = end + 1) {
		*end = 0;
		in = open(path, O_RDONLY);
		if (in < 0 || syscall(SYS_finit_module, in, "", 0))
			return path;
		close(in);
	}
	for (int i = 0; access("/dev/vdb", F_OK) && i < 100; i++)
		usleep(100000);
	if (mount("/dev/vdb", "/mnt", "ext4", 0, NULL))
		return "mount";
	in = open("/proc/vmcore", O_RDONLY);
	out = open("/mnt/copied", O_WRONLY | O_CREAT, 0600);
	for (int i = 0; i < 16; i++) {
		ssize_t n = read(in, block, sizeof block);
		if (n <= 0 || write(out, block, n) != n)
			return "copy";
		look();
	}
	return fsync(out) ? "fsync" : NULL;
}

int main(void)
{
	const char *failed;

	sysinfo(&first);
	mount("proc", "/proc", "proc", 0, NULL);
	mount("sysfs", "/sys", "sysfs", 0, NULL);
	/* May be there already; what is missing shows below. */
	mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
	failed = work();
	look();
	dup2(open("/dev/console", O_WRONLY), 1);
	dprintf(1, "VM: memory: %lu kB in this kernel; free %lu kB at first, %lu kB at least\n",
		last.totalram >> 10, first.freeram >> 10, least >> 10);
	if (failed)
		dprintf(1, "VM: failed: %s\n", failed);
	else
		dprintf(1, "VM: captured\n");
	reboot(RB_AUTOBOOT);
	return 1;
}
