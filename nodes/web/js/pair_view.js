// What "Save Defect Pair" shows after a run: source, result, requested mask and label of each pair in turn, in the same
// place, with the scores under it. A DOM widget, so that both renderers of the window show it.

import { app } from "../../../scripts/app.js"
import { api } from "../../../scripts/api.js"
import { address, button, language, make, text } from "./dataset_server.js"
import { drawMask, fromPicture, fromRuns } from "./pair_masks.js"

const NAME = "defectforge_pairs"
/** Name of each view, and why it may not be there. */
const SAID = {
    source: () => [text("viewSource"), text("withoutSource")],
    result: () => [text("viewResult"), ""],
    requested: () => [text("viewRequested"), text("withoutRequested")],
    label: () => [text("viewLabel"), text("withoutLabel")],
}
const VIEWS = Object.keys(SAID)
const LARGEST = 1024 // pixels of the longer side of what is drawn
const HEIGHT = 300 // of the widget, in the node's own units
const PLAIN = 84 // where nothing was saved
const DIGITS = 3

const loaded = (url) =>
    new Promise((done, fail) => {
        const picture = new Image()
        picture.onload = () => done(picture)
        picture.onerror = () => fail(new Error(text("noPicture")))
        picture.src = url
    })

const file = (entry) => api.apiURL(`/view?${new URLSearchParams(entry)}`)

/** The pairs of one run of a node: `output` is what the server says of it. */
export class PairView {
    static living = new Set()

    constructor(node) {
        Object.assign(this, { node, pairs: [], refused: [], source: null, pair: 0, view: "result", drawn: 0 })
        this.tabs = VIEWS.map((name) => button({ role: "radio", onclick: () => this.turn(name) }))
        this.row = make("div", { className: "views", role: "radiogroup" }, ...this.tabs)
        this.row.addEventListener("keydown", (event) => this.step(event))
        this.canvas = make("canvas", { role: "img" })
        this.flip = button({ className: "picture", onclick: () => this.turn(this.next()) }, this.canvas)
        this.says = make("output", { ariaLive: "polite" })
        this.scores = make("dl")
        this.before = button({ onclick: () => this.go(-1) }, "‹")
        this.after = button({ onclick: () => this.go(1) }, "›")
        this.count = make("span")
        this.open = make("a", { target: "_blank", rel: "noopener" })
        this.pager = make("nav", {}, this.before, this.count, this.after, this.open)
        const parts = [this.row, this.flip, this.says, this.scores, this.pager]
        this.element = make("div", { className: "defectforge-pairs", role: "group" }, ...parts)
        // Keys that press a button or turn the view are not the graph's shortcuts.
        const ours = ["Enter", " ", "ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"]
        this.element.addEventListener("keydown", (event) => ours.includes(event.key) && event.stopPropagation())
        const least = () => (this.pairs.length ? HEIGHT : PLAIN)
        this.added = node.addDOMWidget(NAME, NAME, this.element, {
            serialize: false,
            hideOnZoom: false,
            getMinHeight: least,
            getHeight: least,
        })
        this.added.serialize = false // neither saved nor queued
        PairView.living.add(this)
        const { onRemoved } = node
        node.onRemoved = (...given) => {
            PairView.living.delete(this)
            return onRemoved?.apply(node, given)
        }
    }

    /** Show what a run gave. */
    show(output) {
        this.pairs = output.defectforge_pairs ?? []
        this.refused = output.defectforge_refused ?? []
        this.source = output.defectforge_source?.[0] ?? null
        this.pair = Math.min(this.pair, Math.max(this.pairs.length - 1, 0))
        this.grow()
        return this.draw()
    }

    /** The node as large as its widgets need, never smaller than a person has made it. */
    grow() {
        const [least, now] = [this.node.computeSize(), this.node.size]
        this.node.setSize([Math.max(now[0], least[0], 260), Math.max(now[1], least[1])])
        app.canvas.setDirty(true, true)
    }

    has(view) {
        const pair = this.pairs[this.pair]
        if (!pair) return false
        return { source: this.source, result: true, requested: pair.record.requested, label: pair.mask }[view] != null
    }

    next() {
        const there = VIEWS.filter((view) => this.has(view))
        return there[(there.indexOf(this.view) + 1) % there.length] ?? "result"
    }

    turn(view) {
        this.view = view
        return this.draw()
    }

    go(by) {
        this.pair = (this.pair + by + this.pairs.length) % this.pairs.length
        return this.draw()
    }

    /** Arrow keys walk over the views, as in any group of radio buttons. */
    step(event) {
        const by = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key]
        if (!by) return
        event.preventDefault()
        const there = VIEWS.filter((view) => this.has(view))
        const view = there[(there.indexOf(this.view) + by + there.length) % there.length]
        this.turn(view)
        this.tabs[VIEWS.indexOf(view)].focus()
    }

    async draw() {
        const mine = ++this.drawn
        const pair = this.pairs[this.pair]
        if (!this.has(this.view)) this.view = "result"
        this.label()
        for (const part of [this.row, this.flip, this.pager]) part.hidden = !pair
        this.write(pair)
        if (!pair) return
        try {
            const picture = await loaded(this.address(["source", "requested"].includes(this.view) ? "source" : "result"))
            const mask = this.view === "label" ? await loaded(file(pair.mask)) : null
            if (mine !== this.drawn) return // overtaken by a later turn
            this.paint(picture, mask, pair)
            this.says.textContent = ""
        } catch (error) {
            if (mine === this.drawn) this.says.textContent = error.message
        }
        this.canvas.dataset.view = this.view
    }

    /** Where the photo or the result is; the result where the photo's place is not known. */
    address(view) {
        const { record, image } = this.pairs[this.pair]
        if (view === "source" && this.source) {
            return api.apiURL(address("thumbnail", { ...this.source, side: LARGEST, of: record.source_path }))
        }
        return file(image)
    }

    paint(picture, mask, { record }) {
        const scale = Math.min(1, LARGEST / Math.max(record.width, record.height))
        const size = [record.width, record.height].map((side) => Math.max(1, Math.round(side * scale)))
        ;[this.canvas.width, this.canvas.height] = size
        const drawing = this.canvas.getContext("2d", { willReadFrequently: true })
        drawing.drawImage(picture, 0, 0, ...size)
        if (mask) drawMask(drawing, fromPicture(mask, size), size)
        if (this.view === "requested") drawMask(drawing, fromRuns(record.requested, size), size)
    }

    /** The words, in the language that the window has now. */
    label() {
        this.said = language()
        this.element.ariaLabel = text("pair")
        this.row.ariaLabel = text("views")
        this.flip.title = text("flip")
        VIEWS.forEach((view, number) => {
            const tab = this.tabs[number]
            const [name, without] = SAID[view]()
            tab.textContent = name
            tab.disabled = !this.has(view)
            tab.title = tab.disabled ? without : ""
            tab.ariaChecked = String(view === this.view)
            tab.tabIndex = view === this.view ? 0 : -1
        })
        this.canvas.ariaLabel = SAID[this.view]()[0]
        this.before.ariaLabel = text("pairBefore")
        this.after.ariaLabel = text("pairAfter")
        this.open.textContent = text("openFile")
    }

    write(pair) {
        const reasons = this.refused.map(({ draw, reason }) => text("refused", { draw, reason }))
        this.says.textContent = pair ? "" : [text("nothingSaved"), ...reasons].join("\n")
        this.scores.replaceChildren()
        if (!pair) return
        const scores = Object.entries(pair.record.scores ?? {})
        const row = (...parts) => this.scores.append(make("div", {}, ...parts))
        for (const [name, value] of scores.filter(([, value]) => value !== null)) {
            row(make("dt", {}, name), make("dd", {}, String(Number(value.toFixed(DIGITS)))))
        }
        const names = scores.filter(([, value]) => value === null).map(([name]) => name).join(", ")
        if (names) row(make("dt", {}, text("notMeasured", { names })))
        if (!scores.length) row(make("dt", {}, text("noScores")))
        this.count.textContent = text("pairNumber", { number: this.pair + 1, count: this.pairs.length })
        this.before.disabled = this.after.disabled = this.pairs.length < 2
        const file_ = this.view === "label" ? pair.mask : pair.image
        this.open.href = file(file_)
        this.open.title = [file_.subfolder, file_.filename].filter(Boolean).join("/")
    }
}
