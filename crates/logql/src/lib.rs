//! LogQL: syntax, analysis, pipeline stages, template engine and metric engine. Pure.
