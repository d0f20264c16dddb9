//! A bounded map. When it is full, it drops entries that nobody uses, the least recently used
//! first.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;

/// An entry of a registry.
pub(crate) trait Entry {
    /// How many entries are kept; more only if all of them are in use.
    const MAX_ENTRIES: usize;

    /// Whether it may be dropped now.
    fn is_idle(&self) -> bool {
        true
    }
}

/// Values by their keys.
pub(crate) struct Registry<K, V> {
    entries: HashMap<K, Used<V>>,
    /// Counts the lookups.
    clock: u64,
}

struct Used<V> {
    value: V,
    /// The time of the last lookup, by the clock of the registry.
    at: u64,
}

impl<K: Eq + Hash, V: Entry> Registry<K, V> {
    pub(crate) fn get<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        self.clock += 1;
        let used = self.entries.get_mut(key)?;
        used.at = self.clock;
        Some(&mut used.value)
    }

    /// The value of a key, made if there is none.
    pub(crate) fn get_or_insert_with(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        if !self.entries.contains_key(&key) {
            self.make_room();
        }
        self.clock += 1;
        let used = self.entries.entry(key).or_insert_with(|| Used {
            value: make(),
            at: 0,
        });
        used.at = self.clock;
        &mut used.value
    }

    pub(crate) fn contains(&self, key: &K) -> bool {
        self.entries.contains_key(key)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.entries.values().map(|used| &used.value)
    }

    /// When it is full, forgets an eighth of what is idle at a time. Returns whether it did.
    pub(crate) fn make_room(&mut self) -> bool {
        if self.entries.len() < V::MAX_ENTRIES {
            return false;
        }
        let idle = self.entries.values().filter(|used| used.value.is_idle());
        let mut idle: Vec<u64> = idle.map(|used| used.at).collect();
        idle.sort_unstable();
        let Some(last) = idle.get(idle.len() / 8).copied() else {
            return false;
        };
        self.entries
            .retain(|_, used| used.at > last || !used.value.is_idle());
        true
    }
}

impl<K, V> Default for Registry<K, V> {
    fn default() -> Self {
        Self {
            entries: HashMap::new(),
            clock: 0,
        }
    }
}

impl<K, V> fmt::Debug for Registry<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    type Value = Arc<u32>;

    impl Entry for Value {
        const MAX_ENTRIES: usize = 16;

        fn is_idle(&self) -> bool {
            Arc::strong_count(self) == 1
        }
    }

    fn ask(registry: &mut Registry<u32, Value>, key: u32) -> Value {
        Arc::clone(registry.get_or_insert_with(key, || Arc::new(key)))
    }

    #[test]
    fn of_what_nobody_uses_the_least_recently_used_is_forgotten() {
        let mut registry = Registry::default();
        let in_use = ask(&mut registry, 0);
        for key in 1..16 {
            ask(&mut registry, key);
        }
        assert_eq!(registry.get(&1).map(|value| **value), Some(1));
        ask(&mut registry, 16);
        let forgotten: Vec<u32> = (0..=16).filter(|key| !registry.contains(key)).collect();
        assert_eq!(forgotten, [2, 3], "neither 1 nor {in_use}, which is in use");
    }

    #[test]
    fn what_is_in_use_is_kept_beyond_the_bound() {
        let mut registry = Registry::default();
        let in_use: Vec<Value> = (0..20).map(|key| ask(&mut registry, key)).collect();
        assert_eq!(registry.values().count(), in_use.len());
        drop(in_use);
        assert!(registry.make_room());
        assert_eq!(registry.values().count(), 17);
    }

    #[test]
    fn the_first_value_of_a_key_stays() {
        let mut registry = Registry::<u32, Value>::default();
        registry.get_or_insert_with(1, || Arc::new(1));
        assert_eq!(**registry.get_or_insert_with(1, || Arc::new(2)), 1);
    }
}
