//! What Grafana's data source, logcli, Logs Drilldown and operators send, and what they read of the
//! answers.
//! Each row is a user's step; all of them ask one server, since reading changes nothing. Beside them
//! stand the limits of tenants and the ends of ingesters, which need servers of their own.

mod drilldown;
mod grafana;
mod limits;
mod logcli;
mod operators;
mod rules;
mod site;
mod socket;

use futures::future::BoxFuture;
use site::Site;

/// A step of a user, and how it goes.
type Row = (
    &'static str,
    for<'a> fn(&'a Site) -> BoxFuture<'a, anyhow::Result<()>>,
);

/// A table of rows from functions.
macro_rules! rows {
    ($($module:ident: $($name:ident),+;)+) => {
        &[$($((
            concat!(stringify!($module), ": ", stringify!($name)),
            |site: &Site| Box::pin($module::$name(site)),
        )),+),+]
    };
}

const ROWS: &[Row] = rows! {
    grafana:
        lines_have_their_labels_by_category,
        directions_are_backward_and_forward,
        tags_of_queries_are_taken,
        numbers_come_as_a_matrix,
        instant_queries_take_nanoseconds,
        the_health_check_gives_two,
        numbers_without_digits_are_words,
        statistics_are_where_they_are_looked_for,
        errors_are_plain_text,
        labels_are_listed,
        values_of_labels_are_listed,
        series_are_listed,
        the_size_of_a_query_is_told,
        fields_and_their_values_are_listed,
        what_the_builder_makes_is_answered,
        the_histogram_of_levels_counts_every_line,
        the_context_of_a_line_is_read_both_ways,
        split_queries_name_shards,
        live_lines_come_over_a_socket;
    operators:
        every_page_is_there,
        profiles_say_which_threads_ran,
        generations_of_caches_go_up;
    rules:
        the_server_says_what_it_is,
        groups_are_kept_listed_and_deleted;
    logcli:
        batches_give_every_line_once,
        all_kinds_of_results_are_read,
        labels_and_series_are_listed,
        sizes_and_volumes_are_told,
        fields_are_detected,
        tail_begins_with_what_was,
        lines_are_deleted_on_request,
        credentials_and_tags_do_not_disturb,
        answers_are_compressed_when_asked;
    drilldown:
        services_are_listed_by_volume,
        patterns_have_samples,
        labels_are_detected,
        fields_have_types_and_parsers,
        limits_are_told,
        every_stream_has_a_service_and_every_line_a_level,
        its_queries_are_answered;
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_read_what_they_look_for() -> anyhow::Result<()> {
    let site = Site::start().await?;
    let mut failures = Vec::new();
    for (name, row) in ROWS {
        if let Err(error) = row(&site).await {
            failures.push(format!("{name}: {error:#}"));
        }
    }
    anyhow::ensure!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}
