//! Kernel modules and what they depend on, by the tables that depmod makes (kmod's
//! `modules.dep(5)`, `modprobe.d(5)` for `softdep`).

use super::gzip;
use crate::fail::{Fail, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

/// Modules that need each other in a chain, at most. Kernels have some ten.
const DEPTH_MOST: usize = 200;
/// Most that a module may unpack to.
const MOST: u64 = 256 << 20;

/// What is to be loaded, in the order in which it was named.
#[derive(Default)]
pub struct Wanted(Vec<(String, bool)>);

impl Wanted {
    /// A module's name, alias or file; without it the image is of no use.
    pub fn need(&mut self, name: &str) {
        self.0.push((name.to_owned(), true));
    }

    /// Whether nothing is to be loaded.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As [`Wanted::need`], but it does not matter if the kernel has none such.
    pub fn maybe(&mut self, name: &str) {
        self.0.push((name.to_owned(), false));
    }
}

/// A module, unpacked.
pub struct Module {
    /// Its name.
    pub name: String,
    /// Its bytes.
    pub data: Vec<u8>,
}

/// A kernel's modules folder.
pub struct Modules {
    folder: PathBuf,
    /// Name -> path in the folder, and paths it depends on.
    dep: BTreeMap<String, (String, Vec<String>)>,
    /// Alias without wildcards -> names.
    alias: BTreeMap<String, Vec<String>>,
    /// Name -> names to load before it, if they are there.
    soft: BTreeMap<String, Vec<String>>,
    builtin: BTreeSet<String>,
}

/// A module's name as the kernel has it.
pub fn name_of(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split(".ko").next().unwrap_or(file).replace('-', "_")
}

impl Modules {
    /// Reads the tables.
    pub fn open(folder: &Path, version: &str) -> Result<Modules> {
        let text = |name: &str| std::fs::read_to_string(folder.join(name));
        let dep = text("modules.dep").map_err(|e| {
            Fail::file(&folder.join("modules.dep"), e).next(format_args!(
                "`depmod {version}` makes it; --kernel and --modules-dir name another kernel's modules; \
                 --no-modules is for a kernel that has all built in"
            ))
        })?;
        let dep = dep
            .lines()
            .filter_map(|line| {
                let (path, needs) = line.split_once(':')?;
                // What is not in the folder is not the kernel's.
                let inside = |part: Component<'_>| matches!(part, Component::Normal(_));
                if !Path::new(path).components().all(inside) {
                    return None;
                }
                let needs = needs.split_whitespace().map(str::to_owned).collect();
                Some((name_of(path), (path.to_owned(), needs)))
            })
            .collect();
        let mut alias = BTreeMap::<String, Vec<String>>::new();
        for line in text("modules.alias").unwrap_or_default().lines() {
            if let ["alias", name, module] = line.split_whitespace().collect::<Vec<_>>()[..]
                && !name.contains(['*', '?', '['])
            {
                alias.entry(name.replace('-', "_")).or_default().push(name_of(module));
            }
        }
        let mut soft = BTreeMap::<String, Vec<String>>::new();
        for line in text("modules.softdep").unwrap_or_default().lines() {
            let mut words = line.split_whitespace();
            if words.next() != Some("softdep") {
                continue;
            }
            let Some(name) = words.next() else { continue };
            let before = words.skip_while(|w| *w != "pre:").skip(1).take_while(|w| *w != "post:");
            soft.entry(name_of(name)).or_default().extend(before.map(str::to_owned));
        }
        let builtin = text("modules.builtin").unwrap_or_default().lines().map(name_of).collect();
        Ok(Modules { folder: folder.to_owned(), dep, alias, soft, builtin })
    }

    /// The wanted modules and all they need, in loading order.
    pub fn resolve(&self, wanted: &Wanted) -> Result<Vec<Module>> {
        let mut order = Order::default();
        for (name, needed) in &wanted.0 {
            if name.contains('/') {
                self.add_file(Path::new(name), &mut order)?;
            } else if !self.add(name, &mut order)? && *needed {
                return Err(Fail::new(format_args!(
                    "{}: the kernel has no module {name}, nor is it built in",
                    self.folder.display()
                ))
                .next("--kernel names another kernel; a file is named with its path"));
            }
        }
        Ok(order.modules)
    }

    /// Adds what a name stands for; whether the kernel has it at all.
    fn add(&self, name: &str, order: &mut Order) -> Result<bool> {
        let name = name_of(name);
        if self.dep.contains_key(&name) {
            self.add_module(&name, order)?;
            return Ok(true);
        }
        if self.builtin.contains(&name) {
            return Ok(true);
        }
        let Some(names) = self.alias.get(&name) else { return Ok(false) };
        // One of several drivers of one thing will do: the one for any machine.
        let generic = names.iter().filter(|name| name.ends_with("_generic"));
        let chosen: Vec<&String> = if generic.clone().next().is_some() {
            generic.collect()
        } else {
            names.iter().collect()
        };
        for name in chosen {
            if self.dep.contains_key(name) {
                self.add_module(name, order)?;
            }
        }
        Ok(true)
    }

    fn add_module(&self, name: &str, order: &mut Order) -> Result<()> {
        let Some((path, needs)) = self.dep.get(name) else { return Ok(()) };
        if !order.begun.insert(name.to_owned()) {
            return Ok(());
        }
        if order.depth == DEPTH_MOST {
            let text = format_args!("{name} is needed by {DEPTH_MOST} modules in a chain");
            return Err(Fail::file(&self.folder, text).next("its modules.dep is damaged"));
        }
        order.depth += 1;
        for soft in self.soft.get(name).into_iter().flatten() {
            self.add(soft, order)?;
        }
        for path in needs.iter().rev() {
            let need = name_of(path);
            if !self.dep.contains_key(&need) {
                let text = format_args!("{name} needs {path}, which is not in the folder");
                return Err(Fail::file(&self.folder, text).next("its modules.dep is damaged"));
            }
            self.add_module(&need, order)?;
        }
        order.depth -= 1;
        let path = self.folder.join(path);
        order.modules.push(Module { name: name.to_owned(), data: read(&path)? });
        Ok(())
    }

    /// A module from anywhere; what it depends on comes from the folder.
    fn add_file(&self, path: &Path, order: &mut Order) -> Result<()> {
        let name = name_of(&path.to_string_lossy());
        if !order.begun.insert(name.clone()) {
            return Err(Fail::file(path, format_args!("there are two modules named {name}"))
                .next("name files before what depends on them"));
        }
        let data = read(path)?;
        for need in depends(&data) {
            if !self.add(&need, order)? {
                return Err(Fail::file(
                    path,
                    format_args!("it needs {need}, which {} does not have", self.folder.display()),
                )
                .next("--kernel names the kernel that it is for"));
            }
        }
        order.modules.push(Module { name, data });
        Ok(())
    }
}

#[derive(Default)]
struct Order {
    begun: BTreeSet<String>,
    /// Modules that are being added, each for the one before it.
    depth: usize,
    modules: Vec<Module>,
}

/// The names in a module's `depends=`, which is one of the zero-ended texts in its `.modinfo`.
fn depends(module: &[u8]) -> Vec<String> {
    let line = module.split(|byte| *byte == 0).find_map(|text| text.strip_prefix(b"depends="));
    // Without such a text it depends on no other.
    let names = String::from_utf8_lossy(line.unwrap_or(&[])).into_owned();
    names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// A module as the kernel takes it.
fn read(path: &Path) -> Result<Vec<u8>> {
    let stored = std::fs::read(path).map_err(|e| Fail::file(path, e))?;
    let data = match &stored[..] {
        [0x1f, 0x8b, ..] => gzip::unpack(&stored).map_err(|why| Fail::file(path, why))?,
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => {
            let mut out = Limited { data: Vec::new() };
            lzma_rs::xz_decompress(&mut &stored[..], &mut out)
                .map_err(|e| Fail::file(path, format_args!("damaged xz data: {e:?}")))?;
            out.data
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            let mut out = Vec::new();
            let decoder = zstd::stream::read::Decoder::new(&stored[..]);
            decoder
                .and_then(|d| {
                    std::io::Read::read_to_end(&mut std::io::Read::take(d, MOST), &mut out)
                })
                .map_err(|e| Fail::file(path, format_args!("damaged zstd data: {e}")))?;
            out
        }
        _ => stored,
    };
    if data.starts_with(b"\x7fELF") {
        Ok(data)
    } else {
        Err(Fail::file(path, "is not a kernel module")
            .next("modules are ELF files, plain or compressed with gzip, xz or zstd"))
    }
}

/// Memory that does not grow without end.
struct Limited {
    data: Vec<u8>,
}

impl std::io::Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if (self.data.len() + bytes.len()) as u64 > MOST {
            return Err(std::io::Error::other("too large for a module"));
        }
        self.data.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
