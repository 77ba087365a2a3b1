"use strict";
// A view of what the management API tells. All that comes from there is shown as text, never as HTML.

const PAGE = 100;
/** The repository that is named as its project. */
const BARE = "-";

/** An element with attributes and children; strings are text. */
function make(name, attributes, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children.flat().filter((child) => child !== null));
  return element;
}

async function ask(path) {
  // Without the login that the page's own address may have, with which a browser asks nothing.
  const answer = await fetch(location.origin + "/api/v2.0" + path, { headers: { accept: "application/json" } });
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.errors?.[0]?.message ?? answer.statusText);
  return body;
}

function bytes(count) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  for (; count >= 1024 && at < units.length - 1; at += 1) count /= 1024;
  return count.toFixed(at === 0 ? 0 : 1) + " " + units[at];
}

const when = (text) => (text ? new Date(text).toLocaleString() : "never");
/** As a part of a path, or a filter, which the API decodes twice. */
const twice = (text) => encodeURIComponent(encodeURIComponent(text));
const link = (text, ...parts) =>
  make("a", { href: "#" + parts.map(encodeURIComponent).join("/") }, text);

function table(heads, rows) {
  if (rows.length === 0) return make("p", { class: "faint" }, "Nothing here.");
  const cell = (kind) => (content, at) => {
    const attributes = heads[at].endsWith("#") ? { class: "number" } : {};
    return make(kind, attributes, kind === "th" ? content.replace("#", "") : content);
  };
  return make("table", {},
    make("thead", {}, make("tr", {}, heads.map(cell("th")))),
    make("tbody", {}, rows.map((row) => make("tr", {}, row.map(cell("td"))))));
}

/** What of a list is looked at, as the page's address says: which page, and of what has this in its name. */
function looked(query) {
  const asked = new URLSearchParams(query);
  return { page: Number(asked.get("page")) || 1, part: asked.get("part") ?? "" };
}

/** The same as the management API is asked for it, which looks for the part in `column`. */
function wanted({ page, part }, column) {
  const filter = part === "" ? "" : `&q=${twice(`${column}=~${part}`)}`;
  return `page=${page}&page_size=${PAGE}${filter}`;
}

/** The address of another part of the list that is looked at. */
const other = (look) => "#" + location.hash.slice(1).split("?")[0] + "?" + new URLSearchParams(look);

/** A box for a part of a name, and the list of what has it, by pages. */
function list(look, what, heads, rows) {
  const box = make("input", { type: "search", value: look.part, placeholder: `Part of ${what}` });
  box.addEventListener("change", () => { location.hash = other({ page: 1, part: box.value }); });
  const to = (page, text) => make("a", { href: other({ ...look, page }) }, text);
  return [
    make("p", {}, box),
    table(heads, rows),
    make("p", {},
      look.page > 1 ? to(look.page - 1, "earlier ") : null,
      rows.length === PAGE ? to(look.page + 1, "more") : null),
  ];
}

async function projects(look) {
  const all = await ask("/projects?" + wanted(look, "name"));
  const quotas = new Map();
  if (all.length > 0) {
    const of = twice(`reference_id={${all.map((project) => project.project_id).join(" ")}}`);
    // Administrators only may see these.
    const known = await ask(`/quotas?page_size=${PAGE}&q=${of}`).catch(() => []);
    for (const quota of known) quotas.set(quota.ref.name, quota);
  }
  const room = (project) => {
    const quota = quotas.get(project.name);
    if (!quota) return "";
    const { used, hard } = { used: quota.used.storage, hard: quota.hard.storage };
    if (hard < 0) return bytes(used);
    const meter = make("meter", { min: 0, max: hard, value: used, high: hard * 0.85 });
    return [meter, `${bytes(used)} of ${bytes(hard)}`];
  };
  const heads = ["Project", "Who may pull", "Repositories#", "Bytes", "Since"];
  return list(look, "a project's name", heads, all.map((project) => [
    link(project.name, project.name),
    project.metadata.public === "true" ? "everybody" : "members",
    String(project.repo_count),
    room(project),
    when(project.creation_time),
  ]));
}

async function repositories(look, project) {
  const name = encodeURIComponent(project);
  const all = await ask(`/projects/${name}/repositories?${wanted(look, "name")}`);
  const rest = (repo) => repo.name.slice(project.length + 1) || BARE;
  return list(look, "a repository's name", ["Repository", "Artifacts#", "Since"], all.map((repo) => [
    link(repo.name, project, rest(repo)),
    String(repo.artifact_count),
    when(repo.creation_time),
  ]));
}

async function artifacts(look, project, repository) {
  const path = `/projects/${encodeURIComponent(project)}/repositories/${twice(repository)}/artifacts`;
  const all = await ask(`${path}?${wanted(look, "tags")}`);
  const path_in_host = repository === BARE ? project : `${project}/${repository}`;
  const image = `${location.host}/${path_in_host}`;
  const heads = ["Tags", "Digest", "Kind", "Size#", "Pushed", "Pulled"];
  return list(look, "a tag", heads, all.map((artifact) => [
    [
      artifact.tags.map((tag) => make("span", { class: "tag" }, tag.name)),
      artifact.labels.map((label) => make("span", { class: "label" }, label.name)),
      artifact.accessories.map((about) => make("span", { class: "label" }, about.type)),
    ].flat(),
    [
      make("code", {}, artifact.digest), make("br", {}),
      make("code", { class: "faint" }, `docker pull ${image}@${artifact.digest}`),
    ],
    make("code", {}, artifact.artifact_type ?? artifact.manifest_media_type),
    bytes(artifact.size),
    when(artifact.push_time),
    when(artifact.pull_time),
  ]));
}

async function show() {
  const [path, query] = location.hash.slice(1).split("?");
  const [project, repository] = path.split("/").filter(Boolean).map(decodeURIComponent);
  const look = looked(query);
  const trail = [project ? link(project, project) : null,
    repository ? link(repository === BARE ? project : repository, project, repository) : null];
  document.getElementById("trail").replaceChildren(...trail.filter(Boolean));
  const main = document.getElementById("main");
  try {
    const view = repository ? artifacts(look, project, repository)
      : project ? repositories(look, project) : projects(look);
    main.replaceChildren(...await view);
  } catch (error) {
    main.replaceChildren(make("p", { class: "refused" }, error.message));
  }
}

async function begin() {
  // A browser asks for name and password here. Who gives none sees what is public.
  const who = await ask("/users/current").catch(() => null);
  await show();
  if (who) document.getElementById("who").textContent = who.username;
}

addEventListener("hashchange", show);
begin();
