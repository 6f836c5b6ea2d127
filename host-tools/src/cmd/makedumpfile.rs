//! `tamis makedumpfile`.

use std::ffi::OsString;

/// Do what a command line of makedumpfile asks for.
///
/// For scripts on a running system that call makedumpfile on dumps: `-R`, `--reassemble`,
/// `--dump-dmesg`, `--mem-usage`, `-g`, `--check-params`, `-v`, and new dumps out of vmcores and
/// dumps, by the commands of tamis (rearrange, reassemble, dmesg, estimate, stats, vmcoreinfo,
/// refilter, split). Options, final messages and exit statuses are makedumpfile's. `tamis` under
/// the name makedumpfile does the same. In a crash kernel's initramfs, tamis-capture takes that
/// name.
///
/// `tamis makedumpfile --help` lists the options.
///
/// Exit status: 0 done; 1 failed, or the dump is incomplete.
///
/// Examples:
///   $ tamis makedumpfile -R vmcore < /dev/sdb
///   $ tamis makedumpfile --dump-dmesg vmcore vmcore-dmesg.txt
///   $ ln -s /usr/bin/tamis /usr/local/sbin/makedumpfile; makedumpfile -c -d 31 vmcore small
#[derive(clap::Args)]
#[command(
    verbatim_doc_comment,
    disable_help_flag = true,
    override_usage = "tamis makedumpfile [OPTIONS] VMCORE DUMPFILE"
)]
pub struct Args {
    /// Its options and file names
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "WORDS")]
    words: Vec<OsString>,
}

impl Args {
    /// The words behind the name.
    pub fn words(self) -> Vec<OsString> {
        self.words
    }
}
