//! Which tests there are for what.

/// A stage, the file that it is in, and its options, each with a test that uses it. The empty option
/// stands for what the stage does without any.
pub(super) type Stage = (
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str)],
);

pub(super) const STAGES: &[Stage] = &[
    (
        "cri",
        "cri",
        &[
            ("", "a_line_is_taken_apart"),
            ("", "other_lines_pass_unchanged"),
            ("", "parts_are_joined_per_label_set"),
            ("max_partial_lines", "one_part_too_many_flushes_all"),
            ("max_partial_line_size", "joined_lines_are_cut_if_asked"),
            (
                "max_partial_line_size_truncate",
                "joined_lines_are_cut_if_asked",
            ),
        ],
    ),
    ("decolorize", "decolorize", &[("", "sequences_are_removed")]),
    (
        "docker",
        "docker",
        &[
            ("", "a_line_is_taken_apart"),
            ("", "other_lines_pass_unchanged"),
        ],
    ),
    (
        "drop",
        "drop",
        &[
            ("source", "all_conditions_must_hold"),
            ("separator", "all_conditions_must_hold"),
            ("expression", "all_conditions_must_hold"),
            ("value", "all_conditions_must_hold"),
            ("older_than", "all_conditions_must_hold"),
            ("longer_than", "all_conditions_must_hold"),
            ("drop_counter_reason", "drops_are_counted_by_reason"),
        ],
    ),
    (
        "json",
        "json",
        &[
            ("expressions", "expressions_find_values_of_each_type"),
            ("source", "a_source_is_used_instead_of_the_line"),
            (
                "drop_malformed",
                "what_is_no_object_is_left_alone_or_dropped",
            ),
        ],
    ),
    (
        "labelallow",
        "labelallow",
        &[("", "other_labels_are_removed")],
    ),
    (
        "labeldrop",
        "labeldrop",
        &[("", "labels_are_removed_and_stay_extracted")],
    ),
    (
        "labels",
        "labels",
        &[
            ("", "extracted_values_become_labels"),
            ("", "what_is_not_utf8_is_no_label"),
        ],
    ),
    (
        "limit",
        "limit",
        &[
            (
                "rate",
                "what_is_above_the_rate_is_dropped_for_all_files_of_a_job",
            ),
            (
                "burst",
                "what_is_above_the_rate_is_dropped_for_all_files_of_a_job",
            ),
            (
                "drop",
                "what_is_above_the_rate_is_dropped_for_all_files_of_a_job",
            ),
            ("", "without_drop_reading_pauses"),
            ("by_label_name", "each_value_of_a_label_has_its_own_rate"),
            (
                "max_distinct_labels",
                "as_many_values_are_remembered_as_there_may_be",
            ),
        ],
    ),
    (
        "logfmt",
        "logfmt",
        &[
            ("mapping", "mapped_pairs_are_extracted"),
            ("source", "a_source_is_used_instead_of_the_line"),
        ],
    ),
    (
        "match",
        "match_stage",
        &[
            ("selector", "selectors"),
            (
                "stages",
                "nested_stages_share_what_is_extracted_and_may_hold_back",
            ),
            ("action", "dropped_lines_are_counted"),
            ("drop_counter_reason", "dropped_lines_are_counted"),
            ("pipeline_name", "a_pipeline_may_have_a_name"),
        ],
    ),
    (
        "metrics",
        "metric_stage",
        &[
            ("type", "actions"),
            ("description", "a_description_is_shown"),
            ("source", "actions"),
            ("prefix", "actions"),
            ("max_idle_duration", "idle_series_are_forgotten"),
            ("config", "actions"),
            ("action", "actions"),
            ("value", "actions"),
            ("match_all", "actions"),
            ("count_entry_bytes", "actions"),
            ("buckets", "actions"),
        ],
    ),
    (
        "multiline",
        "multiline",
        &[
            ("firstline", "lines_are_joined_up_to_the_next_first_line"),
            ("max_wait_time", "blocks_wait_for_so_long_after_each_line"),
            ("max_lines", "lines_are_joined_up_to_the_next_first_line"),
            ("", "label_sets_are_apart"),
        ],
    ),
    (
        "output",
        "output",
        &[("source", "the_source_becomes_the_line")],
    ),
    (
        "pack",
        "pack",
        &[
            ("labels", "labels_and_extracted_values_are_packed"),
            ("ingest_timestamp", "labels_and_extracted_values_are_packed"),
        ],
    ),
    (
        "regex",
        "regex",
        &[
            ("expression", "named_groups_are_extracted"),
            ("source", "a_source_is_used_instead_of_the_line"),
        ],
    ),
    (
        "replace",
        "replace",
        &[
            ("expression", "groups_are_replaced_and_the_rest_stays"),
            ("replace", "groups_are_replaced_and_the_rest_stays"),
            ("source", "named_groups_and_sources_are_extracted"),
        ],
    ),
    (
        "sampling",
        "sampling",
        &[
            ("", "the_share_is_kept_and_the_rest_counted"),
            ("rate", "rates_that_are_no_share_are_refused"),
            ("drop_counter_reason", "what_is_dropped_has_a_reason"),
        ],
    ),
    ("static_labels", "static_labels", &[("", "labels_are_set")]),
    (
        "structured_metadata",
        "structured_metadata",
        &[("", "metadata_comes_from_extracted_values_and_labels")],
    ),
    (
        "non_indexed_labels",
        "structured_metadata",
        &[(
            "non_indexed_labels",
            "metadata_comes_from_extracted_values_and_labels",
        )],
    ),
    (
        "template",
        "template",
        &[
            ("source", "templates_set_their_source"),
            ("template", "templates_set_their_source"),
        ],
    ),
    (
        "tenant",
        "tenant",
        &[
            ("label", "the_tenant_is_a_label"),
            ("source", "the_tenant_is_a_label"),
            ("value", "the_tenant_is_a_label"),
        ],
    ),
    (
        "timestamp",
        "timestamp",
        &[
            ("source", "times_that_cannot_be_read_follow_the_last_one"),
            ("format", "times_that_cannot_be_read_follow_the_last_one"),
            ("", "each_label_set_has_its_own_last_time"),
            ("fallback_formats", "fallback_formats_are_tried_in_order"),
            ("location", "a_location_is_that_of_times_that_name_no_zone"),
            (
                "action_on_failure",
                "times_that_cannot_be_read_follow_the_last_one",
            ),
        ],
    ),
];

/// Stages that are refused by name.
pub(super) const REFUSED: &[&str] = &["eventlogmessage", "geoip"];

/// Things that befall files, servers and the agent, and where they are tried.
pub(super) const BEFALLS: &[(&str, &[&str])] = &[
    // Files.
    (
        "a new file",
        &["agent::targets_of_files_come_and_go_while_it_runs"],
    ),
    (
        "who is who: device, inode and bytes",
        &[
            "tail::identity::a_mark_holds_in_a_copy_and_not_in_other_bytes",
            "reader::restarts::an_inode_that_was_given_away_again_is_another_file",
            "reader::rotation::a_file_with_the_beginning_of_another_is_read_after_all",
        ],
    ),
    (
        "a position is what was acknowledged",
        &[
            "reader::positions_advance_only_with_acknowledgement",
            "reader::batches_that_are_done_out_of_order_wait_for_the_oldest",
        ],
    ),
    (
        "positions that are broken",
        &[
            "positions::file::a_broken_file_gives_way_to_the_other_generation",
            "agent::broken_positions_stop_nobody",
            "suite::torture::broken_positions_stop_nobody",
        ],
    ),
    (
        "half a line at the end, and none after it",
        &[
            "tail::generation::a_half_line_waits_for_its_end",
            "reader::rotation::a_deleted_file_is_read_to_its_end_and_let_go",
        ],
    ),
    (
        "rotation by name",
        &[
            "reader::rotation::a_renamed_file_is_read_to_its_end_before_the_new_one",
            "suite::kills::no_line_is_lost_and_none_is_twice_in_the_server",
        ],
    ),
    (
        "a rotated name in the glob",
        &[
            "reader::rotation::a_renamed_file_that_the_glob_matches_is_not_read_again",
            "suite::kills::no_line_is_lost_and_none_is_twice_in_the_server",
        ],
    ),
    (
        "rotated faster than it is looked at",
        &["reader::rotation::generations_that_come_and_go_between_two_looks_are_read_in_order"],
    ),
    (
        "rotated in an outage",
        &["reader::rotation::rotations_during_an_outage_lose_nothing"],
    ),
    (
        "packed after it was rotated",
        &[
            "reader::packed::a_rotated_file_that_is_packed_later_is_not_read_again",
            "reader::packed::what_was_rotated_and_packed_while_nobody_looked_is_read_in_order",
        ],
    ),
    (
        "truncated",
        &[
            "reader::rotation::a_truncated_file_is_read_from_its_beginning",
            "reader::rotation::holes_that_a_truncation_leaves_are_passed_over",
        ],
    ),
    (
        "copied, truncated, and longer again",
        &[
            "tail::generation::a_truncation_is_seen_even_when_the_file_is_longer_again",
            "reader::rotation::what_only_the_copy_of_a_truncated_file_has_is_read_from_there",
            "reader::rotation::a_copy_under_way_is_left_alone_until_the_original_is_truncated",
        ],
    ),
    (
        "deleted while it is open",
        &[
            "reader::rotation::a_deleted_file_is_held_until_it_is_delivered",
            "reader::rotation::a_deleted_file_is_not_held_for_ever",
            "reader::rotation::a_deleted_and_recreated_file_is_a_new_one",
        ],
    ),
    (
        "links",
        &["reader::links_as_a_kubelet_makes_them_are_followed"],
    ),
    (
        "FIFOs and directories",
        &[
            "reader::what_is_no_regular_file_is_passed_over",
            "reader::a_file_that_becomes_a_fifo_blocks_nobody",
            "suite::torture::what_is_no_plain_file_is_in_nobodys_way",
        ],
    ),
    (
        "a file with a hole",
        &[
            "tail::generation::holes_and_nul_bytes_before_a_line_are_passed_over",
            "suite::torture::what_is_no_plain_file_is_in_nobodys_way",
        ],
    ),
    (
        "a huge line",
        &[
            "tail::generation::a_line_too_long_is_cut_and_the_rest_skipped",
            "tail::generation::while_a_line_is_skipped_its_beginning_is_the_position",
        ],
    ),
    (
        "other encodings",
        &[
            "reader::packed::other_encodings_become_utf_8",
            "tail::newline::lines_end_at_characters",
        ],
    ),
    (
        "a job of packed files",
        &[
            "reader::packed::a_job_of_packed_files_reads_each_once",
            "tail::unpack::each_packing_is_unpacked",
        ],
    ),
    (
        "thousands of files",
        &[
            "suite::answers::thousands_of_files_are_read_in_little_memory",
            "reader::many_files_are_read_side_by_side",
        ],
    ),
    // While no agent runs.
    (
        "down: the head of the new file",
        &["reader::restarts::the_rest_of_a_file_that_was_rotated_meanwhile_is_read_first"],
    ),
    (
        "down: the tail of the old file",
        &[
            "reader::restarts::the_rest_of_a_file_that_was_rotated_meanwhile_is_read_first",
            "reader::restarts::a_rotated_file_that_was_not_delivered_is_found_again",
        ],
    ),
    (
        "down: came and went",
        &[
            "reader::restarts::generations_that_came_and_went_meanwhile_are_read",
            "suite::torture::a_name_that_came_and_was_rotated_while_no_agent_ran_is_read",
        ],
    ),
    (
        "down: an inode given away again",
        &[
            "reader::restarts::an_inode_that_was_given_away_again_is_another_file",
            "reader::restarts::a_new_file_with_the_inode_of_one_that_was_not_begun_has_its_own_name",
        ],
    ),
    (
        "down: copied and truncated",
        &["reader::restarts::a_copy_made_meanwhile_is_read_from_where_the_original_was"],
    ),
    (
        "down: gone",
        &["reader::restarts::a_file_that_is_gone_is_told_as_lost_and_the_new_one_read"],
    ),
    // The agent itself.
    (
        "killed at random",
        &[
            "suite::kills::no_line_is_lost_and_none_is_twice_in_the_server",
            "reader::crashes::plain_lines",
            "reader::crashes::lines_in_parts_of_two_streams_beside_each_other",
            "reader::crashes::blocks_of_lines",
            "reader::restarts::kills_at_any_point_lose_nothing",
        ],
    ),
    (
        "killed after the server has flushed",
        &[
            "suite::repeats::what_was_flushed_before_the_server_was_started_again_is_not_seen_twice",
            "suite::repeats::what_was_flushed_is_neither_stored_again_nor_told_as_lost",
        ],
    ),
    (
        "killed while the server is down",
        &["suite::torture::a_kill_or_a_stop_while_the_server_is_down_loses_nothing"],
    ),
    (
        "stopped while the server is down",
        &[
            "suite::torture::a_kill_or_a_stop_while_the_server_is_down_loses_nothing",
            "agent::a_stop_while_the_sink_is_down_is_quick_and_loses_nothing",
        ],
    ),
    (
        "a line in parts over a restart",
        &[
            "reader::stages::a_part_of_a_line_is_read_again_after_a_restart",
            "reader::stages::a_line_in_parts_stays_whole_over_a_rotation_and_a_restart",
        ],
    ),
    // Servers.
    (
        "an outage: memory, and all comes after it",
        &[
            "suite::torture::an_outage_takes_no_memory_and_all_comes_after_it",
            "reader::reading_stops_while_too_much_is_owed",
        ],
    ),
    (
        "429 and 500",
        &["suite::answers::what_is_refused_for_now_is_sent_again_in_its_order"],
    ),
    (
        "429 of one tenant, with Retry-After",
        &[
            "suite::answers::a_tenant_that_is_told_to_wait_waits_and_holds_up_no_other",
            "deliver::http::waits_that_servers_ask_for",
        ],
    ),
    (
        "400",
        &["suite::answers::what_is_refused_for_good_is_counted_and_in_nobodys_way"],
    ),
    (
        "slow",
        &["suite::answers::a_slow_server_gets_all_in_order_and_no_more_at_once_than_it_may"],
    ),
    (
        "never an answer",
        &["suite::answers::who_never_answers_is_asked_again"],
    ),
    (
        "two clients, one dead",
        &[
            "suite::answers::a_client_that_is_dead_is_in_no_others_way",
            "agent::a_client_that_is_down_holds_up_no_other",
        ],
    ),
    (
        "tries that end",
        &["deliver::courier::batches_are_dropped_for_tries_or_rate_only_where_that_is_asked_for"],
    ),
    (
        "more streams than there may be",
        &[
            "suite::torture::more_streams_than_there_may_be_cost_their_own_lines_only",
            "streams::a_job_has_so_many_streams_and_others_have_their_own",
        ],
    ),
    // Kubernetes.
    (
        "pods that come, change and go",
        &[
            "discover::kubernetes::pods_come_change_and_go",
            "discover::kubernetes::hundreds_of_pods_are_there_and_come_at_once",
            "suite::pods::a_container_that_is_started_anew_is_read_on_in_its_next_file",
        ],
    ),
    (
        "other roles",
        &["discover::kubernetes::other_roles_have_labels_of_their_own"],
    ),
    (
        "a watch that has expired",
        &[
            "discover::kubernetes::outages::an_expired_watch_lists_again",
            "discover::kubernetes::outages::a_version_that_is_refused_as_forgotten_is_not_asked_for_for_ever",
        ],
    ),
    (
        "an API server that is away, or started again",
        &[
            "discover::kubernetes::outages::a_server_that_is_started_again_is_followed_on",
            "discover::kubernetes::outages::while_the_server_is_away_or_refuses_targets_stay",
        ],
    ),
    (
        "a token that has expired",
        &["discover::kubernetes::outages::a_token_that_has_expired_is_read_again"],
    ),
];
