//! The configuration of a process: the sections of all roles, so that one file serves every binary.

use std::path::PathBuf;

use model::Limits;
use serde::{Deserialize, Serialize};
use server::{ConfigError, Print, RuntimeConfig};
use storage::Backend;

use crate::args::ServeArgs;
use crate::target::Target;

/// The whole configuration. Each binary takes what concerns it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Whether requests must name their tenant in `X-Scope-OrgID`. If not, all belongs to the tenant
    /// `fake`.
    pub auth_enabled: bool,
    /// Where to keep what must survive a restart. Each process needs its own.
    pub data_dir: PathBuf,
    /// Listeners and the process's own log.
    pub server: server::Config,
    /// What tenants may do.
    pub limits: Limits,
    /// A file with other limits for some tenants, read again while the process runs.
    pub runtime_config: RuntimeConfig,
    /// The object store.
    pub storage: storage::StorageConfig,
    /// How processes find each other.
    pub cluster: cluster::Config,
    /// What takes pushes.
    pub distributor: distributor::Config,
    /// What holds recent lines.
    pub ingester: ingester::Config,
    /// What answers queries.
    pub querier: querier::Config,
    /// What keeps the store small and in order.
    pub compactor: compactor::Config,
    /// What keeps images.
    pub registry: registry::Config,
}

/// What of it a process takes that keeps images and nothing else.
#[derive(Serialize)]
struct OfRegistry {
    data_dir: PathBuf,
    server: server::Config,
    storage: storage::StorageConfig,
    registry: registry::Config,
}

impl OfRegistry {
    fn of(config: &Config) -> Self {
        Self {
            data_dir: config.data_dir.clone(),
            server: config.server.clone(),
            storage: config.storage.clone(),
            registry: config.registry.clone(),
        }
    }
}

impl Default for OfRegistry {
    fn default() -> Self {
        Self::of(&Config::default())
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            auth_enabled: false,
            data_dir: PathBuf::from("skald-data"),
            server: server::Config::default(),
            limits: Limits::default(),
            runtime_config: RuntimeConfig::default(),
            storage: storage::StorageConfig::default(),
            cluster: cluster::Config::default(),
            distributor: distributor::Config::default(),
            ingester: ingester::Config::default(),
            querier: querier::Config::default(),
            compactor: compactor::Config::default(),
            registry: registry::Config::default(),
        }
    }
}

impl Config {
    /// Puts what was typed over what was written.
    pub(crate) fn apply(&mut self, args: &ServeArgs) {
        if let Some(addr) = args.registry_listen {
            self.registry.listen = addr;
        }
        let args = &args.process;
        if let Some(dir) = &args.data_dir {
            self.data_dir.clone_from(dir);
        }
        if let Some(addr) = args.http_listen {
            self.server.http_listen = addr;
        }
        if let Some(addr) = args.grpc_listen {
            self.server.grpc_listen = addr;
        }
    }

    /// What concerns this process, as YAML without its secrets.
    pub(crate) fn print(&self, target: Target, what: Print) -> String {
        match target {
            Target::Registry => server::print(&OfRegistry::of(self), what),
            _ => server::print(self, what),
        }
    }

    /// Checks what the types do not say, for this process.
    ///
    /// # Errors
    /// With the first key that does not hold.
    pub fn validate(&self, target: Target) -> Result<(), ConfigError> {
        let wrong = |text: String| Err(ConfigError::Invalid(text));
        if self.data_dir.as_os_str().is_empty() {
            return wrong("data_dir: must not be empty".to_owned());
        }
        if let Err(error) = self.cluster.validate() {
            return wrong(error.to_string());
        }
        if let Err(error) = self.querier.validate() {
            return wrong(error);
        }
        if let Err(error) = self.compactor.validate() {
            return wrong(error);
        }
        self.validate_places(target)
    }

    /// What removes garbage from a store must not meet what others keep there. A process that has one
    /// of the two stores knows where the other is only if that is said.
    fn validate_places(&self, target: Target) -> Result<(), ConfigError> {
        let is_said = self.storage.backend != Backend::Local
            || !self.storage.local.directory.as_os_str().is_empty();
        if target != Target::All && !is_said {
            return Ok(());
        }
        let logs = self.storage.place(&self.data_dir.join("store"));
        let images = self.data_dir.join("registry").join("store");
        let images = self.registry.storage.place(&images);
        if self.registry.enabled && logs == images {
            return Err(ConfigError::Invalid(format!(
                "registry.storage: names the same place as storage, {logs}; give one of them another \
                 bucket or directory, or a prefix of its own"
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_defaults_hold() {
        Config::default().validate(Target::All).unwrap();
    }

    #[test]
    fn logs_and_images_have_places_of_their_own() {
        let refused = |logs: &Value, images: &Value| {
            let config = json!({"storage": logs, "registry": {"storage": images}});
            let config: Config = serde_json::from_value(config).unwrap();
            let outcome = config.validate(Target::All);
            outcome.is_err_and(|error| error.to_string().contains("registry.storage"))
        };
        let s3 = |s3: Value, prefix: &str| json!({"backend": "s3", "s3": s3, "prefix": prefix});
        let local = |directory: &str, prefix: &str| json!({"local": {"directory": directory}, "prefix": prefix});
        let bucket = |prefix: &str| s3(json!({"bucket": "b"}), prefix);
        let at = |endpoint: &str| s3(json!({"bucket": "b", "endpoint": endpoint}), "x");
        let container = json!({"backend": "azure", "azure": {"account": "a", "container": "c"}});
        for (logs, images) in [
            (bucket(""), bucket("")),
            (bucket("x"), bucket("/x/")),
            (at("http://e/"), at("http://e")),
            (json!({}), local("skald-data/store", "")),
            (local("/d/a", ""), local("/d", "a")),
            (container.clone(), container),
        ] {
            assert!(refused(&logs, &images), "{logs} {images}");
        }
        for (logs, images) in [
            (bucket(""), s3(json!({"bucket": "c"}), "")),
            (bucket(""), bucket("images")),
            (bucket(""), at("http://e")),
            (
                bucket(""),
                json!({"backend": "gcs", "gcs": {"bucket": "b"}}),
            ),
            (local("/d", ""), local("/e", "")),
            (json!({}), json!({})),
        ] {
            assert!(!refused(&logs, &images), "{logs} {images}");
        }
    }

    #[test]
    fn every_key_has_a_variable_of_its_own() {
        let repeated = server::repeated_variables(&Config::default());
        assert!(repeated.is_empty(), "{repeated:?}");
    }
}
