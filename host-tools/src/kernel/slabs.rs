//! The caches of the slab allocator, SLUB: how many objects each has, and how much memory.

use super::lists::{List, list, string};
use super::{Kernel, Sought, with_types};
use crate::dump::opened::Opened;
use crate::fail::Result;
use crate::render::json::{Document, Hex};
use serde::Serialize;
use tamis_core::kernel::symbols::{Btf, Member, Place};

/// Nodes of a machine.
const NODES: u64 = 1 << 10;

/// The caches of a kernel.
#[derive(Serialize)]
pub struct Slabs {
    /// All that were found, the one with most memory first.
    pub caches: Vec<Cache>,
    /// Why there may be more.
    pub error: Option<String>,
}

impl Document for Slabs {
    const SCHEMA: &'static str = "tamis.slabs/1";
}

/// A cache.
#[derive(Clone, Serialize)]
pub struct Cache {
    /// Its name.
    pub name: String,
    /// Bytes of an object.
    pub object_size: u64,
    /// Bytes from one object to the next.
    pub size: u64,
    /// Objects that there is memory for.
    pub objects: u64,
    /// Of these, objects in use; those that a CPU or a node holds ready are not, though `/proc/slabinfo` counts them.
    pub in_use: u64,
    /// Slabs: runs of pages.
    pub slabs: u64,
    /// Bytes of memory.
    pub bytes: u64,
    /// Address of its `struct kmem_cache`.
    pub cache: Hex,
}

/// Objects of a slab (15 bits), and objects or slabs that a CPU holds.
const OBJECTS: u64 = 1 << 15;
/// Bytes of the largest slab.
const SLAB: u64 = 1 << 25;

sought! {
    /// Members of what a CPU or a node holds ready.
    Ready {
        cpu_slab: "kmem_cache.cpu_slab",
        freelist: "kmem_cache_cpu.freelist",
        slab: "kmem_cache_cpu.slab",
        page: "kmem_cache_cpu.page",
        partial: "kmem_cache_cpu.partial",
        next_slab: "slab.next",
        next_page: "page.next",
        offset: "kmem_cache.offset",
        random: "kmem_cache.random",
        // From 6.18 on.
        sheaves: "kmem_cache.cpu_sheaves",
        main: "slub_percpu_sheaves.main",
        spare: "slub_percpu_sheaves.spare",
        in_sheaf: "slab_sheaf.size",
        in_barn: "slab_sheaf.barn_list",
        full: "node_barn.sheaves_full",
        of_node: "kmem_cache_node.barn",
        beside_node: "kmem_cache_per_node_ptrs.barn",
    }
}

sought! {
    /// Members of a cache, and of what it has on each node.
    Shape {
        list: "kmem_cache.list",
        name: "kmem_cache.name",
        size: "kmem_cache.size",
        object_size: "kmem_cache.object_size",
        order: "kmem_cache.oo",
        partial: "kmem_cache_node.partial",
        slabs: "kmem_cache_node.nr_slabs",
        objects: "kmem_cache_node.total_objects",
        node: "kmem_cache.node",
        // From 7.3 on.
        per_node: "kmem_cache.per_node",
        in_per_node: "kmem_cache_per_node_ptrs.node",
        // From 5.17 on; before, it is in struct page.
        slab_list: "slab.slab_list",
        page_list: "page.slab_list",
    }
}

/// Bit fields, the ones before 5.17 last.
const COUNTS: [(&str, &str); 4] =
    [("slab", "inuse"), ("slab", "objects"), ("page", "inuse"), ("page", "objects")];

/// Where everything is.
struct CacheAt {
    name: Member,
    size: Member,
    object_size: Member,
    order: Member,
    partial: Member,
    slabs: Member,
    objects: Member,
    /// The pointers to what each node has: the first one, and how far it is from one to the next.
    node: (u64, u64),
    /// Where that pointer is in what there is of each node.
    beside: u64,
    slab_list: Member,
    inuse: Place,
    of_slab: Place,
    ready: Ready,
    /// How far the variables of each CPU are from where the kernel was linked for them.
    cpus: Vec<u64>,
}

impl CacheAt {
    fn find(kernel: &mut Kernel<'_>, btf: &Btf<'_>, shape: &Shape) -> Result<CacheAt> {
        let word = kernel.word();
        let [in_slab, of_slab, in_page, of_page] = kernel.places(btf, COUNTS)?;
        if shape.partial.found.is_none() || shape.order.found.is_none() {
            return Err(kernel.fail(
                "its kernel's slab allocator is not SLUB: of others the caches are not read",
            ));
        }
        let (ready, cpus) = (Ready::find(kernel, btf)?, kernel.cpus()?);
        let in_per_node = shape.in_per_node.found;
        let mut node = match (shape.node.found, shape.per_node.found, in_per_node) {
            (Some(node), ..) => (node.offset, word),
            (None, Some(per_node), Some(node)) => (per_node.offset + node.offset, 0),
            _ => return Err(kernel.fail("its kernel's types have no kmem_cache.node")),
        };
        if node.1 == 0 {
            let each = kernel.size_of(btf, "kmem_cache_per_node_ptrs")?;
            node.1 = each.ok_or_else(|| {
                kernel.fail("its kernel's types have no kmem_cache_per_node_ptrs")
            })?;
        }
        let place = |place: Option<Place>, name| {
            place.ok_or_else(|| kernel.fail(format_args!("its kernel's types have no {name}")))
        };
        let need = |member: Sought| kernel.need(member);
        Ok(CacheAt {
            name: need(shape.name)?,
            size: need(shape.size)?,
            object_size: need(shape.object_size)?,
            order: need(shape.order)?,
            partial: need(shape.partial)?,
            slabs: need(shape.slabs)?,
            objects: need(shape.objects)?,
            node,
            beside: in_per_node.map_or(0, |node| node.offset),
            slab_list: need(shape.slab_list).or(need(shape.page_list))?,
            inuse: place(in_slab.or(in_page), "slab.inuse")?,
            of_slab: place(of_slab.or(of_page), "slab.objects")?,
            ready,
            cpus,
        })
    }

    /// Free objects of a slab.
    fn free(&self, kernel: &mut Kernel<'_>, slab: u64) -> Result<u64> {
        let used = kernel.bits(slab, self.inuse)?;
        Ok(kernel.bits(slab, self.of_slab)?.saturating_sub(used))
    }

    /// The sheaves full of objects that a node holds ready, through a pointer to them.
    fn barn(&self, kernel: &mut Kernel<'_>, pointer: u64) -> Result<List> {
        let none = List { elements: Vec::new(), error: None };
        let word = kernel.word();
        let (Some(in_sheaf), Some(full)) = (self.ready.in_barn.found, self.ready.full.found) else {
            return Ok(none);
        };
        let barn = kernel.number(pointer, word)?;
        if barn == 0 {
            return Ok(none);
        }
        Ok(list(kernel, barn.wrapping_add(full.offset), in_sheaf.offset))
    }

    /// Objects in a sheaf.
    fn sheaf(&self, kernel: &mut Kernel<'_>, sheaf: u64) -> Result<u64> {
        match self.ready.in_sheaf.found.filter(|_| sheaf != 0) {
            Some(size) => kernel.number(sheaf.wrapping_add(size.offset), size.size),
            None => Ok(0),
        }
    }

    /// Free objects that a CPU holds ready.
    fn of_cpu(&self, kernel: &mut Kernel<'_>, cache: u64, cpu: u64) -> Result<u64> {
        let word = kernel.word();
        let mut free = 0u64;
        let pointer = |kernel: &mut Kernel<'_>, base: u64, member: Member| {
            kernel.number(base.wrapping_add(member.offset), word)
        };
        if let Some(sheaves) = self.ready.sheaves.found {
            let own = pointer(kernel, cache, sheaves)?;
            let each = [self.ready.main.found, self.ready.spare.found];
            for member in each.into_iter().flatten().filter(|_| own != 0) {
                let sheaf = pointer(kernel, own.wrapping_add(cpu), member)?;
                free = free.saturating_add(self.sheaf(kernel, sheaf)?);
            }
        }
        let ready = &self.ready;
        let (Some(of_cpu), Some(freelist)) = (ready.cpu_slab.found, ready.freelist.found) else {
            return Ok(free);
        };
        let own = pointer(kernel, cache, of_cpu)?;
        if own == 0 {
            return Ok(free);
        }
        let own = own.wrapping_add(cpu);
        let first = pointer(kernel, own, freelist)?;
        free = free.saturating_add(self.freelist(kernel, cache, first)?);
        if let Some(slab) = ready.slab.found.or(ready.page.found) {
            let slab = pointer(kernel, own, slab)?;
            free = free.saturating_add(if slab == 0 { 0 } else { self.free(kernel, slab)? });
        }
        let next = ready.next_slab.found.or(ready.next_page.found);
        if let (Some(partial), Some(next)) = (ready.partial.found, next) {
            let mut slab = pointer(kernel, own, partial)?;
            let mut left = OBJECTS;
            while slab != 0 && left > 0 {
                free = free.saturating_add(self.free(kernel, slab)?);
                (slab, left) = (pointer(kernel, slab, next)?, left - 1);
            }
        }
        Ok(free)
    }

    /// Objects on a list of free ones, each of which has the pointer to the next one in it
    /// (`freelist_ptr_decode` of mm/slub.c).
    fn freelist(&self, kernel: &mut Kernel<'_>, cache: u64, first: u64) -> Result<u64> {
        let Some(inside) = self.ready.offset.found else { return Ok(0) };
        let word = kernel.word();
        let inside = kernel.number(cache.wrapping_add(inside.offset), inside.size)?;
        let random = match self.ready.random.found {
            Some(random) => Some(kernel.number(cache.wrapping_add(random.offset), word)?),
            None => None,
        };
        let (mut object, mut count) = (first, 0);
        while object != 0 && count < OBJECTS {
            count += 1;
            let at = object.wrapping_add(inside);
            let raw = kernel.number(at, word)?;
            let near =
                |next: &u64| *next == 0 || next.wrapping_sub(object).wrapping_add(SLAB) < 2 * SLAB;
            let mixed = match word {
                8 => at.swap_bytes(),
                _ => u64::from((at as u32).swap_bytes()),
            };
            // Before 5.7 the address is as it is in what is mixed in.
            let next = match random {
                None => Some(raw),
                Some(random) => [raw ^ random ^ mixed, raw ^ random ^ at].into_iter().find(near),
            };
            match next.filter(near) {
                Some(next) => object = next,
                None => break,
            }
        }
        Ok(count)
    }

    /// A cache of a machine with so many nodes, and why what is said of it is too little.
    fn read(
        &self,
        kernel: &mut Kernel<'_>,
        cache: u64,
        nodes: u64,
        page: u64,
    ) -> Result<(Cache, Option<String>)> {
        let word = kernel.word();
        let mut one =
            |member: Member| kernel.number(cache.wrapping_add(member.offset), member.size);
        let (size, object_size, order) =
            (one(self.size)?, one(self.object_size)?, one(self.order)?);
        let at = one(self.name)?;
        let name = string(kernel, at)?;
        let (mut slabs, mut objects, mut free, mut error) = (0u64, 0u64, 0u64, None);
        for node in 0..nodes {
            let at = cache.wrapping_add(self.node.0).wrapping_add(node.wrapping_mul(self.node.1));
            let node = kernel.number(at, word)?;
            if node == 0 {
                continue;
            }
            let mut count = |member: Member| kernel.number(node.wrapping_add(member.offset), word);
            slabs = slabs.saturating_add(count(self.slabs)?);
            objects = objects.saturating_add(count(self.objects)?);
            let partial =
                list(kernel, node.wrapping_add(self.partial.offset), self.slab_list.offset);
            error = error.or(partial.error);
            for slab in partial.elements {
                free = free.saturating_add(self.free(kernel, slab)?);
            }
            let barn = match (self.ready.of_node.found, self.ready.beside_node.found) {
                (Some(barn), _) => node.wrapping_add(barn.offset),
                // Beside the pointer to what the node has.
                (None, Some(barn)) => at.wrapping_sub(self.beside).wrapping_add(barn.offset),
                (None, None) => continue,
            };
            let List { elements, error: less } = self.barn(kernel, barn)?;
            error = error.or(less);
            for sheaf in elements {
                free = free.saturating_add(self.sheaf(kernel, sheaf)?);
            }
        }
        for cpu in &self.cpus {
            free = free.saturating_add(self.of_cpu(kernel, cache, *cpu)?);
        }
        // Pages of a slab in the bits above the number of its objects (`OO_SHIFT` of mm/slub.c).
        let pages = 1u64.checked_shl((order >> 16 & 0x3f) as u32).unwrap_or(0);
        let bytes = slabs.saturating_mul(pages).saturating_mul(page);
        let in_use = objects.saturating_sub(free);
        let cache =
            Cache { name, object_size, size, objects, in_use, slabs, bytes, cache: Hex(cache) };
        Ok((cache, error))
    }
}

/// All caches.
pub fn slabs(opened: &mut Opened) -> Result<Slabs> {
    let page = opened.shift.bytes() as u64;
    with_types(opened, |kernel, btf| slabs_of(kernel, btf, page))
}

/// The same, of an open kernel with pages of so many bytes.
pub fn slabs_of(kernel: &mut Kernel<'_>, btf: &Btf<'_>, page: u64) -> Result<Slabs> {
    let shape = Shape::find(kernel, btf)?;
    let at = CacheAt::find(kernel, btf, &shape)?;
    let list_at = kernel.need(shape.list)?;
    let Some(head) = kernel.address("slab_caches")? else {
        return Err(kernel.fail("its kernel has no symbol slab_caches"));
    };
    // Kernels for one node have no variable for how many there are.
    let nodes = kernel.variable("nr_node_ids", 4)?.unwrap_or(1).min(NODES);
    let all = list(kernel, head, list_at.offset);
    let (mut caches, mut error) = (Vec::new(), all.error);
    for cache in all.elements {
        match at.read(kernel, cache, nodes, page) {
            Ok((cache, less)) => {
                error = error.or(less);
                caches.push(cache);
            }
            Err(failed) => error = error.or(Some(failed.line())),
        }
    }
    caches.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
    Ok(Slabs { caches, error })
}
