// The report's gallery: cards, filters, marks, a close view. Names reach the page as text only, never as markup.
"use strict";

(() => {
  const holder = document.getElementById("data");
  const list = document.getElementById("cards");
  if (!holder || !list) return;
  const data = JSON.parse(holder.textContent);
  const $ = (selector, from = document) => from.querySelector(selector);
  const make = (tag, properties = {}, ...children) => {
    const node = Object.assign(document.createElement(tag), properties);
    node.append(...children);
    return node;
  };
  const by = new Map(data.pairs.map((pair) => [pair.id, pair]));
  const title = (pair) => `${String(pair.number).padStart(6, "0")}, ${pair.type}`;
  const figure = (value) => (value === null || value === undefined ? "not measured" : Number(value.toPrecision(3)).toString());

  // ---- marks: kept by the browser, saved as JSON, applied by `defectforge review`
  const VERBS = { keep: ["Keep", "k"], reject: ["Reject", "r"], relabel: ["Relabel", "l"] };
  const shelf = `defectforge marks ${data.run}`;
  const marks = new Map();
  const asText = () =>
    JSON.stringify({ defectforge_marks: 1, run: data.run, marks: Object.fromEntries([...marks].sort()) }, null, 1) + "\n";
  const wellFormed = (mark) =>
    mark && Object.hasOwn(VERBS, mark.mark) && (mark.mark !== "relabel" || (typeof mark.type === "string" && mark.type.trim()));

  function takeOver(text) {
    const found = JSON.parse(text);
    if (found.defectforge_marks !== 1 || typeof found.marks !== "object") throw new Error("these are no marks");
    const wrong = Object.entries(found.marks).filter(([, mark]) => !wellFormed(mark));
    if (wrong.length) throw new Error(`no mark: ${wrong[0][0]}`);
    marks.clear();
    let strange = 0;
    for (const [id, mark] of Object.entries(found.marks)) by.has(id) ? marks.set(id, mark) : strange++;
    return strange;
  }

  function mark(pair, kind, type) {
    const before = marks.get(pair.id);
    if (kind === null || (before && before.mark === kind && type === undefined)) marks.delete(pair.id);
    else marks.set(pair.id, kind === "relabel" ? { mark: kind, type } : { mark: kind });
    marked();
  }

  function marked() {
    try { localStorage.setItem(shelf, asText()); } catch { /* a browser that keeps nothing: the file is what counts */ }
    const count = (kind) => [...marks.values()].filter((one) => one.mark === kind).length;
    $("#tally").textContent = marks.size
      ? Object.keys(VERBS).map((kind) => `${count(kind)} ${kind}`).join(", ")
      : "no marks";
    if (document.activeElement !== $("#text")) $("#text").value = asText();
    for (const pair of data.pairs) if (pair.card) paint(pair);
    if (shown) fillVerbs($(".verbs", viewer), shown);
  }

  function paint(pair) {
    const state = marks.get(pair.id)?.mark ?? "none";
    if (pair.card.dataset.mark === state && state !== "relabel") return;
    pair.card.dataset.mark = state;
    fillVerbs($(".verbs", pair.card), pair);
  }

  function fillVerbs(place, pair) {
    const now = marks.get(pair.id);
    if (!place.firstChild) {
      place.setAttribute("role", "group");
      for (const [kind, [word]] of Object.entries(VERBS)) {
        const button = make("button", { type: "button", textContent: word });
        button.dataset.kind = kind;
        button.addEventListener("click", () => press(place, kind));
        place.append(button);
      }
    }
    place.pair = pair;
    place.setAttribute("aria-label", `Mark ${title(pair)}`);
    for (const button of place.querySelectorAll("button")) {
      button.setAttribute("aria-pressed", String(now?.mark === button.dataset.kind));
    }
    const input = $("input", place);
    if (now?.mark === "relabel") askType(place, now.type);
    else if (input && (input.of !== pair || document.activeElement !== input)) input.remove();
  }

  function press(place, kind) {
    const pair = place.pair;
    if (kind !== "relabel" || marks.get(pair.id)?.mark === kind) return mark(pair, kind);
    askType(place, "").focus();
  }

  /** The field for the right type: the mark counts as soon as something stands in it. */
  function askType(place, type) {
    let input = $("input", place);
    if (!input) {
      input = make("input", { size: 12, placeholder: "right type", autocomplete: "off" });
      input.setAttribute("list", "types");
      input.addEventListener("input", () => {
        const text = input.value.trim();
        if (text) mark(input.of, "relabel", text);
        else if (marks.get(input.of.id)?.mark === "relabel") mark(input.of, null);
      });
      input.addEventListener("keydown", (event) => {
        if (event.key !== "Enter") return;
        event.preventDefault();
        $('[data-kind="relabel"]', place).focus();
      });
      place.append(input);
    }
    input.of = place.pair;
    input.setAttribute("aria-label", `The right type of ${title(place.pair)}`);
    if (document.activeElement !== input) input.value = type;
    return input;
  }

  $("#save").addEventListener("click", () => {
    const url = URL.createObjectURL(new Blob([asText()], { type: "application/json" }));
    make("a", { href: url, download: "marks.json" }).click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  });
  $("#take").addEventListener("click", () => {
    try {
      const strange = takeOver($("#text").value);
      $("#said").textContent = `${marks.size} marks` + (strange ? `; ${strange} of pairs that are not on this page` : "");
      marked();
    } catch (error) {
      $("#said").textContent = `not taken over: ${error.message}`;
    }
  });
  $("#clear").addEventListener("click", () => { marks.clear(); marked(); $("#said").textContent = "no marks"; });
  $("#copy").addEventListener("click", () => copy(asText(), $("#said"), $("#text")));

  async function copy(text, said, field) {
    try {
      await navigator.clipboard.writeText(text);
      said.textContent = "copied";
    } catch {
      if (field.select) field.select();
      else getSelection().selectAllChildren(field);
      said.textContent = "selected: copy it with the keyboard";
    }
  }

  // ---- cards
  function card(pair) {
    if (pair.card) return pair.card;
    const strip = make("button", { type: "button", className: "strip" });
    strip.setAttribute("aria-label", `${title(pair)}: source, label, result, difference; look closely`);
    strip.addEventListener("click", () => open(pair));
    if (pair.views.strip) strip.append(make("img", { loading: "lazy", decoding: "async", alt: "", src: pair.views.strip }));
    const measured = data.scores.filter((name) => pair.scores[name] !== null).slice(0, 3);
    const lines = [
      make("p", {}, make("b", { textContent: title(pair) }), ` · ${pair.method} · seed ${pair.seed} · label: ${pair.label}`),
      make("p", { className: "soft scores", textContent: measured.length
        ? measured.map((name) => `${name} ${figure(pair.scores[name])}`).join(", ") : "scores: not measured" }),
    ];
    if (pair.problems.length) lines.push(make("p", { className: "bad", textContent: pair.problems.join("; ") }));
    pair.card = make("li", { className: "card" }, strip, ...lines, make("div", { className: "verbs" }));
    pair.card.pair = pair;
    paint(pair);
    return pair.card;
  }

  list.addEventListener("keydown", (event) => {
    const item = event.target.closest(".card");
    if (!item || typing(event)) return;
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step) {
      const next = step > 0 ? item.nextElementSibling : item.previousElementSibling;
      if (!next) return;
      event.preventDefault();
      $(".strip", next).focus();
      next.scrollIntoView({ block: "nearest" });
    } else byKey(event, item.pair, $(".verbs", item));
  });

  const typing = (event) =>
    event.ctrlKey || event.metaKey || event.altKey || event.target.matches("textarea, select, input:not([type=radio])");

  function byKey(event, pair, place) {
    const key = event.key.toLowerCase();
    const kind = Object.keys(VERBS).find((one) => VERBS[one][1] === key);
    if (key === "u") mark(pair, null);
    else if (kind) press(place, kind);
    else return;
    event.preventDefault();
  }

  // ---- filter and sort
  const controls = $("#controls");
  for (const label of [...new Set(data.pairs.map((pair) => pair.label))].sort()) {
    controls.elements.label.append(make("option", { textContent: label }));
  }
  let order = [];
  let turn = 0;

  function chosen() {
    const value = (name) => controls.elements[name].value.trim();
    const same = ["method", "type", "label"].map((name) => [name, value(name)]).filter(([, wanted]) => wanted);
    const ranges = data.scores
      .map((name) => [name, value(`from ${name}`), value(`to ${name}`)])
      .filter(([, from, to]) => from !== "" || to !== "");
    const wantedMark = value("mark");
    const seed = value("seed");
    const text = value("text").toLowerCase();
    return data.pairs.filter((pair) =>
      same.every(([name, wanted]) => pair[name] === wanted) &&
      (!wantedMark || (marks.get(pair.id)?.mark ?? "none") === wantedMark) &&
      (!seed || pair.seed === seed) &&
      (!text || `${pair.id} ${pair.image} ${pair.source} ${pair.references.join(" ")}`.toLowerCase().includes(text)) &&
      ranges.every(([name, from, to]) => {
        const score = pair.scores[name]; // what was not measured lies in no range
        return score !== null && (from === "" || score >= Number(from)) && (to === "" || score <= Number(to));
      }));
  }

  function sorted(pairs) {
    const by = controls.elements.sort.value;
    const sign = controls.elements.order.value === "up" ? 1 : -1;
    const key = by.startsWith("score ") ? (pair) => pair.scores[by.slice(6)] : (pair) => pair[by];
    // Seeds are whole numbers of up to 20 digits: more than a number holds here.
    const seeds = (x, y) => x.length - y.length || (x < y ? -1 : Number(x > y));
    return pairs
      .map((pair) => [key(pair), pair])
      .sort(([x, a], [y, b]) => {
        if (x === null || y === null) return (x === null) - (y === null) || a.number - b.number; // last, either way
        const way = by === "seed" ? seeds(x, y) : typeof x === "string" ? x.localeCompare(y) : x - y;
        return sign * way || a.number - b.number;
      })
      .map(([, pair]) => pair);
  }

  function render() {
    order = sorted(chosen());
    const mine = ++turn;
    $("#count").textContent = `${order.length} of ${data.pairs.length} pairs shown`;
    $("#nothing").hidden = order.length > 0;
    list.replaceChildren(...order.slice(0, 24).map(card));
    let next = 24;
    const more = () => {
      if (mine !== turn || next >= order.length) return;
      list.append(...order.slice(next, next + 120).map(card));
      next += 120;
      setTimeout(more); // lets the page answer in between
    };
    setTimeout(more);
    if ($("#commands").open) listCommands();
  }

  const listCommands = () => { $("#commands pre").textContent = order.map((pair) => pair.command).join("\n"); };
  $("#commands").addEventListener("toggle", listCommands);
  controls.addEventListener("input", render);
  controls.addEventListener("reset", () => setTimeout(render));
  controls.addEventListener("submit", (event) => event.preventDefault());
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-show]");
    if (button && by.has(button.dataset.show)) open(by.get(button.dataset.show));
  });

  // ---- the close view
  const viewer = $("#viewer");
  const sheet = $(".sheet", viewer);
  let shown = null;

  function open(pair) {
    shown = pair;
    $("#viewer-title").textContent = `${title(pair)} · ${pair.method}`;
    const place = order.indexOf(pair);
    $(".place", viewer).textContent = place < 0 ? "" : `${place + 1} of ${order.length}`;
    for (const part of ["source", "result", "difference", "outlines"]) {
      const image = $(`img.${part}`, viewer);
      if (pair.views[part]) image.src = pair.views[part];
      else image.removeAttribute("src");
      image.alt = part === "outlines" ? "" : `${part} of ${title(pair)}`;
    }
    const rows = [
      ["Picture", pair.image || "?"], ["Label", pair.label + (pair.mask ? `, ${pair.mask}` : "")], ["Source", pair.source],
      ...(pair.references.length ? [["References", pair.references.join(", ")]] : []),
      ["Seed", pair.seed], ["Cost", pair.seconds === null ? "not measured" : `${figure(pair.seconds)} s`],
      ...data.scores.map((name) => [name, figure(pair.scores[name])]),
      ...(data.scores.length ? [] : [["Scores", "not measured"]]), ["Id", pair.id],
    ];
    $("dl", viewer).replaceChildren(...rows.flatMap(([term, text]) => [
      make("dt", { textContent: term }), make("dd", { textContent: text })]));
    $(".problems", viewer).textContent = pair.problems.join("; ");
    $(".again code", viewer).textContent = pair.command;
    $(".again [role=status]", viewer).textContent = pair.note;
    fillVerbs($(".verbs", viewer), pair);
    if (!viewer.open) viewer.showModal();
    sheet.style.setProperty("--zoom", 1); // to the label of this one
    look();
  }

  function look() {
    const view = $("input[name=view]:checked", viewer).value;
    sheet.dataset.view = view;
    zoomTo($("[name=zoom]", viewer).value);
    sheet.style.setProperty("--slide", `${$("[name=slide]", viewer).value}%`);
    $(".slide", viewer).hidden = view !== "slider";
  }

  /** Larger: around the label. From one magnification to the next: around the middle of what is seen. */
  function zoomTo(zoom) {
    const stage = $(".stage", viewer);
    const before = sheet.style.getPropertyValue("--zoom");
    if (before === zoom) return;
    const share = (offset, visible, whole) => (offset + visible / 2) / whole;
    const [x, y] = before > 1
      ? [share(stage.scrollLeft, stage.clientWidth, sheet.offsetWidth), share(stage.scrollTop, stage.clientHeight, sheet.offsetHeight)]
      : shown.views.focus;
    sheet.style.setProperty("--zoom", zoom);
    stage.scrollTo(x * sheet.offsetWidth - stage.clientWidth / 2, y * sheet.offsetHeight - stage.clientHeight / 2);
  }

  for (const image of viewer.querySelectorAll("img.source, img.result")) {
    // The result's proportions count; the source's where there is no result.
    image.addEventListener("load", () => {
      if (image.matches(".source") && shown?.views.result) return;
      sheet.style.setProperty("--aspect", image.naturalWidth / image.naturalHeight);
    });
  }

  function go(step) {
    const next = order[order.indexOf(shown) + step];
    if (next) open(next);
  }

  viewer.addEventListener("input", (event) => { if (!event.target.closest(".verbs")) look(); });
  viewer.addEventListener("click", (event) => {
    const verb = event.target.closest("[data-do]")?.dataset.do;
    if (verb === "previous") go(-1);
    else if (verb === "next") go(1);
    else if (verb === "close" || event.target === viewer) viewer.close();
    else if (verb === "copy") copy(shown.command, $(".again [role=status]", viewer), $(".again code", viewer));
  });
  viewer.addEventListener("keydown", (event) => {
    if (typing(event)) return;
    const scrolls = event.target.matches(".stage") && $("[name=zoom]", viewer).value > 1;
    if (event.key === "ArrowRight" && !scrolls && !event.target.matches("input")) go(1);
    else if (event.key === "ArrowLeft" && !scrolls && !event.target.matches("input")) go(-1);
    else byKey(event, shown, $(".verbs", viewer));
  });
  viewer.addEventListener("close", () => {
    const last = shown;
    shown = null;
    if (last?.card?.isConnected) $(".strip", last.card).focus();
  });
  // A drag over the picture moves the border between source and result.
  sheet.addEventListener("pointermove", (event) => {
    if (!event.buttons || sheet.dataset.view !== "slider") return;
    const box = sheet.getBoundingClientRect();
    $("[name=slide]", viewer).value = Math.round((100 * (event.clientX - box.left)) / box.width);
    look();
  });

  try { takeOver(localStorage.getItem(shelf) ?? asText()); } catch { marks.clear(); }
  marked();
  render();
})();
