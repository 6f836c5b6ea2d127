//! `cargo xtask circles`: rules about who may use whom, checked on the source text.
//!
//! Each file is parsed (without its `#[cfg(test)]` parts), each path in it is followed through
//! imports and re-exports to the file that defines what it names. That is an arrow; arrows may not
//! run in a circle. What macros make is not seen, what is handed to them is.

use super::root;
use proc_macro2::{Delimiter, TokenStream, TokenTree};
use quote::ToTokens;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::fs;
use std::path::{Component, Path, PathBuf};
use syn::visit::Visit;
use syn::visit_mut::VisitMut;

pub const USAGE: &str = "\
cargo xtask circles

Reads the sources of core, its sub-crates, capture-bin and host-tools and fails where
  - files use each other in a circle (declaring and re-exporting a module is not use),
  - a command of host-tools uses another command,
  - `#[path]` leaves its package, or `include_str!` and the like read another package's source,
  - a part of a slice, of which it is not sure that it is there, becomes an empty slice in silence:
    `.get(..).unwrap_or_default()` and its kin. Where it cannot be missing, error::part says so; where
    it can, `.ok_or(..)`; where empty is meant, `.unwrap_or(&[])` with the reason.";

/// Methods that return a part of a slice, if it is there.
const PARTS: [&str; 12] = [
    "get",
    "get_mut",
    "split_at_checked",
    "split_at_mut_checked",
    "first_chunk",
    "first_chunk_mut",
    "last_chunk",
    "last_chunk_mut",
    "split_first_chunk",
    "split_last_chunk",
    "split_first",
    "split_last",
];

/// Runs it.
pub fn run(words: impl Iterator<Item = std::ffi::OsString>) -> Result<(), String> {
    if words.count() > 0 {
        return Err(USAGE.into());
    }
    let findings = check(root())?;
    if findings.is_empty() { Ok(()) } else { Err(findings.join("\n")) }
}

/// Everything that is wrong in the workspace at `top`.
fn check(top: &Path) -> Result<Vec<String>, String> {
    let mut packages = vec![top.join("core"), top.join("capture-bin"), top.join("host-tools")];
    packages.extend(packages_in(&top.join("core"))?);
    packages.sort();
    let mut world = World::default();
    for package in &packages {
        world.load(package)?;
    }
    let (arrows, slices) = world.arrows();
    let mut findings = Vec::new();
    let name = |file: &Path| file.strip_prefix(top).unwrap_or(file).display().to_string();
    for (file, line) in slices {
        findings.push(format!(
            "{}:{line}: a part of a slice that may be missing is read as empty in silence",
            name(&file)
        ));
    }
    findings.extend(commands(&arrows, &name));
    let sources = all_sources(top)?;
    findings.extend(foreign_sources(&sources, &name)?);
    findings.sort_by_key(|text| {
        let mut parts = text.splitn(3, ':');
        let file = parts.next().map(str::to_owned);
        (file, parts.next().and_then(|line| line.parse::<usize>().ok()))
    });
    findings.dedup();
    let circles = circles(&arrows);
    for circle in &circles {
        findings.push(describe(circle, &arrows, &name));
    }
    let files: BTreeSet<&PathBuf> = world.modules.iter().map(|module| &module.file).collect();
    println!("{} files, {} arrows, {} circles", files.len(), arrows.len(), circles.len());
    Ok(findings)
}

/// Folders directly inside of `folder` that hold a package.
fn packages_in(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    Ok(paths.filter(|path| path.join("Cargo.toml").is_file()).collect())
}

/// All source files of the workspace.
fn all_sources(top: &Path) -> Result<Vec<PathBuf>, String> {
    let (mut folders, mut files) = (vec![top.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                folders.push(path);
            } else if name.ends_with(".rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Number of a module in [`World`].
type Id = usize;

/// A module: of a file, or inline.
#[derive(Default)]
struct Module {
    file: PathBuf,
    parent: Option<Id>,
    root: Id,
    children: HashMap<String, Id>,
    items: BTreeSet<String>,
    /// Imported names and the paths behind them.
    imports: HashMap<String, Vec<String>>,
    /// Modules and enums of which everything is imported.
    globs: Vec<Vec<String>>,
    /// Paths in its code, and those of its imports that are no re-exports.
    paths: Vec<(Vec<String>, usize)>,
    /// Lines where a missing part of a slice becomes an empty one.
    slices: Vec<usize>,
}

/// What a path leads to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Target {
    Module(Id),
    Item(Id),
}

/// All modules of all crates.
#[derive(Default)]
struct World {
    modules: Vec<Module>,
    /// Roots of libraries, by the names that others call them.
    libraries: HashMap<String, Id>,
}

/// An arrow's ends, with the lines of the first file and what stands there.
type Arrows = BTreeMap<(PathBuf, PathBuf), Vec<(usize, String)>>;

impl World {
    /// Takes in the library and the program of a package.
    fn load(&mut self, package: &Path) -> Result<(), String> {
        let manifest = package.join("Cargo.toml");
        let text =
            fs::read_to_string(&manifest).map_err(|e| format!("{}: {e}", manifest.display()))?;
        let value = |section: &str| {
            let lines = text.lines().skip_while(|line| line.trim() != section).skip(1);
            let mut lines = lines.take_while(|line| !line.starts_with('['));
            let line = lines
                .find(|line| line.split('=').next().is_some_and(|key| key.trim() == "name"))?;
            Some(line.split('"').nth(1)?.replace('-', "_"))
        };
        let name =
            value("[lib]").or_else(|| value("[package]")).ok_or("a package without a name")?;
        for file in ["src/lib.rs", "src/main.rs"] {
            let path = package.join(file);
            if path.is_file() {
                let id = self.file(&path, None)?;
                if file == "src/lib.rs" {
                    self.libraries.insert(name.clone(), id);
                }
            }
        }
        Ok(())
    }

    /// Takes in a file and the files of the modules that it declares.
    fn file(&mut self, path: &Path, parent: Option<Id>) -> Result<Id, String> {
        let text = fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
        let mut parsed = syn::parse_file(&text)
            .map_err(|e| format!("{}:{}: {e}", path.display(), e.span().start().line))?;
        WithoutTests.visit_file_mut(&mut parsed);
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let folder = path.parent().unwrap_or(path);
        let folder = match stem {
            "mod" | "lib" | "main" => folder.to_owned(),
            _ => folder.join(stem),
        };
        self.module(path, &folder, parsed.items, parent)
    }

    fn module(
        &mut self,
        file: &Path,
        folder: &Path,
        items: Vec<syn::Item>,
        parent: Option<Id>,
    ) -> Result<Id, String> {
        let id = self.modules.len();
        let root = parent.map_or(id, |parent| self.modules[parent].root);
        self.modules.push(Module { file: file.to_owned(), parent, root, ..Module::default() });
        let is_index = file.file_name().is_some_and(|name| name == "mod.rs" || name == "lib.rs");
        for mut item in items {
            if let syn::Item::Mod(inner) = item {
                let name = inner.ident.to_string();
                let child = match inner.content {
                    Some((_, items)) => self.module(file, &folder.join(&name), items, Some(id))?,
                    None => {
                        let places =
                            [folder.join(format!("{name}.rs")), folder.join(&name).join("mod.rs")];
                        let place = places.iter().find(|place| place.is_file());
                        let place = place.ok_or_else(|| {
                            format!("{}: no file of `mod {name}`", file.display())
                        })?;
                        self.file(place, Some(id))?
                    }
                };
                self.modules[id].children.insert(name, child);
                continue;
            }
            let module = &mut self.modules[id];
            module.items.extend(name_of(&item));
            let mut uses = Uses::default();
            uses.visit_item(&item);
            for found in uses.0 {
                let is_public = !matches!(found.vis, syn::Visibility::Inherited);
                let mut leaves = Vec::new();
                leaves_of(&found.tree, &mut Vec::new(), &mut leaves);
                for (name, path, line) in leaves {
                    if !(is_public && is_index) && name.is_some() {
                        module.paths.push((path.clone(), line));
                    }
                    match name {
                        Some(name) => drop(module.imports.insert(name, path)),
                        None => module.globs.push(path),
                    }
                }
            }
            WithoutUses.visit_item_mut(&mut item);
            if !matches!(item, syn::Item::Use(_)) {
                scan(item.to_token_stream(), module);
            }
        }
        Ok(id)
    }

    /// Where a path that stands in `from` leads to; none if it leaves the crates at hand.
    fn resolve(&self, from: Id, path: &[String], depth: u32) -> Option<Target> {
        let (first, rest) = path.split_first()?;
        let start = match first.as_str() {
            "crate" => Target::Module(self.modules[from].root),
            "self" => Target::Module(from),
            "super" => Target::Module(self.modules[from].parent?),
            name => self.named(from, name, depth).or_else(|| {
                let root = *self.libraries.get(name)?;
                Some(Target::Module(root))
            })?,
        };
        let mut at = start;
        for name in rest {
            let Target::Module(module) = at else { break };
            at = match name.as_str() {
                "super" => Target::Module(self.modules[module].parent?),
                "self" => at,
                // Made by a macro, say: where it would stand.
                name => self.named(module, name, depth).unwrap_or(Target::Item(module)),
            };
        }
        Some(at)
    }

    /// What `name` is in a module.
    fn named(&self, module: Id, name: &str, depth: u32) -> Option<Target> {
        let here = &self.modules[module];
        if let Some(child) = here.children.get(name) {
            return Some(Target::Module(*child));
        }
        if here.items.contains(name) {
            return Some(Target::Item(module));
        }
        let depth = depth.checked_sub(1)?;
        if let Some(path) = here.imports.get(name) {
            // `use name::..` where `name` is another crate's.
            let is_itself = path.first().is_some_and(|first| first == name);
            return match self.libraries.get(name) {
                Some(root) if is_itself && path.len() == 1 => Some(Target::Module(*root)),
                None if is_itself => None,
                _ => self.resolve(module, path, depth),
            };
        }
        here.globs.iter().find_map(|glob| match self.resolve(module, glob, depth)? {
            Target::Module(all) if all != module => self.named(all, name, depth),
            _ => None,
        })
    }

    /// All arrows between files, and the places where a missing part of a slice goes unseen.
    fn arrows(&self) -> (Arrows, Vec<(PathBuf, usize)>) {
        let (mut arrows, mut slices) = (Arrows::new(), Vec::new());
        for module in &self.modules {
            slices.extend(module.slices.iter().map(|line| (module.file.clone(), *line)));
        }
        // A bare name counts where nothing else does: most are of variables, or imported.
        for bare in [false, true] {
            for (id, module) in self.modules.iter().enumerate() {
                for (path, line) in
                    module.paths.iter().filter(|(path, _)| (path.len() == 1) == bare)
                {
                    let Some(Target::Item(target)) = self.resolve(id, path, 16) else { continue };
                    let ends = (module.file.clone(), self.modules[target].file.clone());
                    if ends.0 == ends.1 || bare && arrows.contains_key(&ends) {
                        continue;
                    }
                    let places = arrows.entry(ends).or_default();
                    if places.iter().all(|(known, _)| known != line) {
                        places.push((*line, path.join("::")));
                    }
                }
            }
        }
        arrows.values_mut().for_each(|places| places.sort());
        (arrows, slices)
    }
}

/// The name by which others can use an item.
fn name_of(item: &syn::Item) -> Option<String> {
    let ident = match item {
        syn::Item::Const(item) => &item.ident,
        syn::Item::Enum(item) => &item.ident,
        syn::Item::Fn(item) => &item.sig.ident,
        syn::Item::Macro(item) => item.ident.as_ref()?,
        syn::Item::Static(item) => &item.ident,
        syn::Item::Struct(item) => &item.ident,
        syn::Item::Trait(item) => &item.ident,
        syn::Item::Type(item) => &item.ident,
        syn::Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(ident.to_string())
}

/// Each name of a `use`, none for a glob, with its path and line.
type Leaf = (Option<String>, Vec<String>, usize);

fn leaves_of(tree: &syn::UseTree, path: &mut Vec<String>, leaves: &mut Vec<Leaf>) {
    let mut leaf = |name: Option<String>, last: Option<&syn::Ident>, line: usize| {
        let mut path = path.clone();
        path.extend(last.filter(|last| *last != "self").map(ToString::to_string));
        leaves.push((name, path, line));
    };
    match tree {
        syn::UseTree::Path(inner) => {
            path.push(inner.ident.to_string());
            leaves_of(&inner.tree, path, leaves);
            path.pop();
        }
        syn::UseTree::Name(inner) => {
            let name = if inner.ident == "self" {
                path.last().cloned()
            } else {
                Some(inner.ident.to_string())
            };
            leaf(name, Some(&inner.ident), inner.ident.span().start().line);
        }
        syn::UseTree::Rename(inner) => {
            let name = Some(inner.rename.to_string());
            leaf(name, Some(&inner.ident), inner.ident.span().start().line);
        }
        syn::UseTree::Glob(inner) => leaf(None, None, inner.star_token.spans[0].start().line),
        syn::UseTree::Group(inner) => {
            for tree in &inner.items {
                leaves_of(tree, path, leaves);
            }
        }
    }
}

/// Paths and missing parts of slices in code.
fn scan(tokens: TokenStream, module: &mut Module) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let is_punct = |at: usize, wanted: char| matches!(tokens.get(at), Some(TokenTree::Punct(punct)) if punct.as_char() == wanted);
    let is_colons = |at: usize| is_punct(at, ':') && is_punct(at + 1, ':');
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        match token {
            TokenTree::Group(group) => scan(group.stream(), module),
            TokenTree::Ident(ident) => {
                let before = at.checked_sub(1);
                let is_member = before.is_some_and(|before| is_punct(before, '.'))
                    && !at.checked_sub(2).is_some_and(|before| is_punct(before, '.'));
                let is_inside = at.checked_sub(2).is_some_and(is_colons);
                let is_lifetime = before.is_some_and(|before| is_punct(before, '\''));
                let line = ident.span().start().line;
                if is_member {
                    let is_called = matches!(tokens.get(at + 1), Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Parenthesis);
                    if is_called
                        && PARTS.iter().any(|part| ident == part)
                        && is_punct(at + 2, '.')
                        && matches!(tokens.get(at + 3), Some(TokenTree::Ident(next)) if next == "unwrap_or_default")
                    {
                        module.slices.push(line);
                    }
                } else if !is_inside && !is_lifetime {
                    let mut path = vec![ident.to_string()];
                    while is_colons(at + 1)
                        && let Some(TokenTree::Ident(next)) = tokens.get(at + 3)
                    {
                        path.push(next.to_string());
                        at += 3;
                    }
                    module.paths.push((path, line));
                }
            }
            _ => {}
        }
        at += 1;
    }
}

/// Collects imports, those inside of functions too.
#[derive(Default)]
struct Uses(Vec<syn::ItemUse>);

impl<'ast> Visit<'ast> for Uses {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.0.push(item.clone());
    }
}

/// Removes imports from functions.
struct WithoutUses;

impl VisitMut for WithoutUses {
    fn visit_block_mut(&mut self, block: &mut syn::Block) {
        block.stmts.retain(|stmt| !matches!(stmt, syn::Stmt::Item(syn::Item::Use(_))));
        syn::visit_mut::visit_block_mut(self, block);
    }
}

/// Removes what only tests have.
struct WithoutTests;

impl VisitMut for WithoutTests {
    fn visit_file_mut(&mut self, file: &mut syn::File) {
        file.items.retain(|item| !is_test(attributes(item)));
        syn::visit_mut::visit_file_mut(self, file);
    }

    fn visit_item_mod_mut(&mut self, module: &mut syn::ItemMod) {
        if let Some((_, items)) = &mut module.content {
            items.retain(|item| !is_test(attributes(item)));
        }
        syn::visit_mut::visit_item_mod_mut(self, module);
    }

    fn visit_item_impl_mut(&mut self, item: &mut syn::ItemImpl) {
        item.items.retain(|item| match item {
            syn::ImplItem::Const(item) => !is_test(&item.attrs),
            syn::ImplItem::Fn(item) => !is_test(&item.attrs),
            syn::ImplItem::Type(item) => !is_test(&item.attrs),
            _ => true,
        });
        syn::visit_mut::visit_item_impl_mut(self, item);
    }

    fn visit_block_mut(&mut self, block: &mut syn::Block) {
        block.stmts.retain(|stmt| match stmt {
            syn::Stmt::Local(local) => !is_test(&local.attrs),
            syn::Stmt::Item(item) => !is_test(attributes(item)),
            syn::Stmt::Macro(item) => !is_test(&item.attrs),
            syn::Stmt::Expr(..) => true,
        });
        syn::visit_mut::visit_block_mut(self, block);
    }
}

fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Const(item) => &item.attrs,
        syn::Item::Enum(item) => &item.attrs,
        syn::Item::ExternCrate(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::ForeignMod(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Macro(item) => &item.attrs,
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Static(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        syn::Item::Trait(item) => &item.attrs,
        syn::Item::TraitAlias(item) => &item.attrs,
        syn::Item::Type(item) => &item.attrs,
        syn::Item::Union(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// Whether an item is there in tests only: `#[cfg(test)]`, `#[cfg(all(test, ..))]`, `#[test]`.
fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("test")
            || attribute.path().is_ident("cfg")
                && attribute.parse_args::<syn::Meta>().is_ok_and(|meta| never(&meta))
    })
}

/// Whether a condition never holds outside of tests.
fn never(meta: &syn::Meta) -> bool {
    let all = |list: &syn::MetaList| {
        list.parse_args_with(
            syn::punctuated::Punctuated::<syn::Meta, syn::Token![,]>::parse_terminated,
        )
        .unwrap_or_default()
    };
    match meta {
        syn::Meta::Path(path) => path.is_ident("test"),
        syn::Meta::List(list) if list.path.is_ident("all") => all(list).iter().any(never),
        syn::Meta::List(list) if list.path.is_ident("any") => all(list).iter().all(never),
        _ => false,
    }
}

/// Arrows from one command of host-tools to another.
fn commands(arrows: &Arrows, name: &impl Fn(&Path) -> String) -> Vec<String> {
    // What follows cmd/ up to the next slash, or to the end of the file's name.
    let command = |file: &Path| {
        let file = name(file);
        let rest = file.strip_prefix("host-tools/src/cmd/")?.trim_end_matches(".rs").to_owned();
        rest.split('/').next().filter(|first| *first != "mod").map(str::to_owned)
    };
    let mut findings = Vec::new();
    for ((from, to), places) in arrows {
        if let (Some(one), Some(other)) = (command(from), command(to))
            && one != other
        {
            for (line, path) in places {
                findings.push(format!(
                    "{}:{line}: the command `{one}` uses the command `{other}`: {path}",
                    name(from)
                ));
            }
        }
    }
    findings
}

/// `#[path]` and `include_str!` that leave their package.
fn foreign_sources(
    sources: &[PathBuf],
    name: &impl Fn(&Path) -> String,
) -> Result<Vec<String>, String> {
    let mut findings = Vec::new();
    for source in sources {
        let text = fs::read_to_string(source).map_err(|e| format!("{}: {e}", source.display()))?;
        let folder = source.parent().unwrap_or(source);
        let package = source.ancestors().find(|folder| folder.join("Cargo.toml").is_file());
        for (number, line) in text.lines().enumerate() {
            let line = line.trim_start();
            let is_path = line.starts_with("#[path") || line.starts_with("#![path");
            let is_include = ["include_str!(", "include_bytes!(", "include!("]
                .iter()
                .any(|name| line.contains(name));
            if line.starts_with("//") || !(is_path || is_include) {
                continue;
            }
            let Some(target) = line.split('"').nth(1).filter(|target| target.ends_with(".rs"))
            else {
                continue;
            };
            let target = flat(&folder.join(target));
            if package.is_none_or(|package| !target.starts_with(package)) {
                findings.push(format!(
                    "{}:{}: {} another package's source: {}",
                    name(source),
                    number + 1,
                    if is_path { "compiles" } else { "reads" },
                    name(&target)
                ));
            }
        }
    }
    Ok(findings)
}

/// A path without `..`.
fn flat(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => drop(out.pop()),
            other => out.push(other),
        }
    }
    out
}

/// Sets of files that reach each other, by the arrows among them.
fn circles(arrows: &Arrows) -> Vec<BTreeSet<PathBuf>> {
    let mut next: BTreeMap<&PathBuf, BTreeSet<&PathBuf>> = BTreeMap::new();
    for (from, to) in arrows.keys() {
        next.entry(from).or_default().insert(to);
    }
    let reached = |start: &PathBuf| {
        let mut seen: BTreeSet<&PathBuf> = BTreeSet::new();
        let mut left: Vec<&PathBuf> = next.get(start).into_iter().flatten().copied().collect();
        while let Some(file) = left.pop() {
            if seen.insert(file) {
                left.extend(next.get(file).into_iter().flatten().copied());
            }
        }
        seen.into_iter().cloned().collect::<BTreeSet<PathBuf>>()
    };
    let all: BTreeMap<&PathBuf, BTreeSet<PathBuf>> =
        next.keys().map(|file| (*file, reached(file))).collect();
    let mut circles = BTreeSet::new();
    for (file, reach) in &all {
        if reach.contains(*file) {
            let back = |other: &&PathBuf| all.get(other).is_some_and(|reach| reach.contains(*file));
            circles.insert(reach.iter().filter(back).cloned().collect::<BTreeSet<PathBuf>>());
        }
    }
    circles.into_iter().collect()
}

/// A circle with the arrows in it.
fn describe(
    circle: &BTreeSet<PathBuf>,
    arrows: &Arrows,
    name: &impl Fn(&Path) -> String,
) -> String {
    let mut text = format!("circle of {} files:", circle.len());
    for ((from, to), places) in arrows {
        if circle.contains(from) && circle.contains(to) {
            let _ = write!(text, "\n  {} -> {}", name(from), name(to));
            for (line, path) in places.iter().take(4) {
                let _ = write!(text, "\n    {}:{line}: {path}", name(from));
            }
            if places.len() > 4 {
                let _ = write!(text, "\n    and {} more", places.len() - 4);
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use tamis_tests::run::TempDir;

    /// What is found in a workspace of these files.
    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let dir = TempDir::new();
        let top = dir.file("");
        let mut all = BTreeMap::new();
        for package in ["core", "capture-bin", "host-tools"] {
            all.insert(
                format!("{package}/Cargo.toml"),
                format!("[package]\nname = \"x-{package}\"\n"),
            );
            all.insert(format!("{package}/src/lib.rs"), String::new());
        }
        all.extend(files.iter().map(|(path, text)| (path.to_string(), text.to_string())));
        for (path, text) in all {
            let path = top.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        check(&top).unwrap()
    }

    #[test]
    fn a_circle_is_found_through_re_exports_globs_and_macros() {
        let root = ("core/src/lib.rs", "mod a; mod b; pub use b::B;");
        let b = ("core/src/b.rs", "pub struct B; fn f() { crate::a::f() }");
        for a in [
            "use crate::B; pub fn f() {}",
            "pub fn f() { let _ = crate::B; }",
            "use super::b::{self, *}; pub fn f() { g(B) }",
            "use crate::b as c; pub fn f() { println!(\"{}\", c::B) }",
            "pub fn f() { use crate::b::*; let x: Option<B> = None; }",
        ] {
            let found = found(&[root, b, ("core/src/a.rs", a)]);
            assert!(
                found.len() == 1 && found[0].starts_with("circle of 2 files"),
                "{a}: {found:?}"
            );
        }
        for a in [
            "pub fn f() {}",
            "use crate::b; pub fn f() {}",
            "#[cfg(test)] use crate::B; pub fn f() {}",
            "pub fn f() {} #[cfg(all(test, unix))] mod tests { use crate::b::B; }",
            "pub fn f(x: X) { x.B; other::b::B; }",
        ] {
            assert_eq!(found(&[root, b, ("core/src/a.rs", a)]), [""; 0], "{a}");
        }
    }

    #[test]
    fn a_parent_may_declare_and_re_export_its_children_and_they_may_use_it() {
        let child = ("core/src/a/b.rs", "pub struct B; fn f() { super::f() }");
        let root = ("core/src/lib.rs", "mod a;");
        let quiet = ("core/src/a/mod.rs", "mod b; pub use b::B; pub fn f() {}");
        assert_eq!(found(&[root, quiet, child]), [""; 0]);
        let loud = ("core/src/a/mod.rs", "mod b; pub use b::B; pub fn f() { g(B) }");
        assert_eq!(found(&[root, loud, child]).len(), 1);
    }

    #[test]
    fn the_other_rules_are_kept_with_file_and_line() {
        let found = found(&[
            ("host-tools/src/lib.rs", "mod cmd;"),
            ("host-tools/src/cmd/mod.rs", "mod x; mod y; pub fn shared() {}"),
            ("host-tools/src/cmd/x.rs", "\nuse super::y::f; use super::shared;"),
            ("host-tools/src/cmd/y.rs", "pub fn f(x: &[u8]) { x.get(1..)\n.unwrap_or_default(); }"),
            (
                "capture-bin/src/lib.rs",
                "const X: &str = include_str!(\"../../core/src/lib.rs\");\n\
                 const Y: &str = include_str!(\"lib.rs\");\n#[path = \"../../core/src/lib.rs\"]\nmod x;\n\
                 fn f(x: &[u8]) { x.get(1..).unwrap_or(&[]); x.iter().next().unwrap_or_default(); }",
            ),
            ("capture-bin/src/x.rs", ""),
        ]);
        let places: Vec<&str> =
            found.iter().map(|text| &text[..text.find(": ").unwrap()]).collect();
        let expected = [
            "capture-bin/src/lib.rs:1",
            "capture-bin/src/lib.rs:3",
            "host-tools/src/cmd/x.rs:2",
            "host-tools/src/cmd/y.rs:1",
        ];
        assert_eq!(places, expected, "{found:?}");
    }
}
