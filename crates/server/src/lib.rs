//! The process kit: config, listeners, tenants, telemetry, health, overrides, modules, shutdown.
