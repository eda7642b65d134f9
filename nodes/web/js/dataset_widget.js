// The part of "Load MVTec Photo" that shows the photo: thumbnail with the mask drawn, "Browse...", what is there.
// A DOM widget, so that both renderers of the window show it, and keyboard and screen readers reach it.

import { browse } from "./dataset_dialog.js"
import { ask, button, language, linked, make, settle, text, values } from "./dataset_server.js"
import { api } from "../../../scripts/api.js"

const NAME = "defectforge_photo"
const HEIGHT = 76 // of the row, in the node's own units
const LOOK = 250 // milliseconds between two looks at the values
const TYPING = 300 // milliseconds without a change before the server is asked
const DISK = 5_000 // milliseconds between two questions whether the photo has changed on disk

/** Shows what a node's values name. Follows them by looking: they also change by undo, by loading and after a run. */
export class PhotoWidget {
    static living = new Set()

    constructor(node) {
        Object.assign(this, { node, wanted: null, shown: null, tag: null, note: "", asked: 0, mask: true })
        this.picture = make("img", { hidden: true, draggable: false })
        this.look = button({ className: "picture", tabIndex: -1, onclick: () => this.browse() }, this.picture)
        this.open = button({ ariaHasPopup: "dialog", onclick: () => this.browse() })
        this.box = make("input", { type: "checkbox", checked: true, onchange: () => this.drawMask(this.box.checked) })
        this.boxText = make("span")
        this.says = make("output", { ariaLive: "polite" })
        this.element = make(
            "div",
            { className: "defectforge-photo", role: "group" },
            this.look,
            make("div", {}, this.open, make("label", {}, this.box, this.boxText), this.says),
        )
        // Space and Enter press the button that has the focus; the window has other uses for them.
        this.element.addEventListener("keydown", (event) => ["Enter", " "].includes(event.key) && event.stopPropagation())
        this.added = node.addDOMWidget(NAME, "defectforge_photo", this.element, {
            serialize: false,
            hideOnZoom: false,
            getMinHeight: () => HEIGHT,
            getMaxHeight: () => HEIGHT,
            getHeight: () => HEIGHT,
        })
        this.added.serialize = false // neither saved nor queued
        this.label()
        PhotoWidget.living.add(this)
        const { onRemoved } = node
        node.onRemoved = (...given) => {
            PhotoWidget.living.delete(this)
            this.free()
            return onRemoved?.apply(node, given)
        }
    }

    browse() {
        return browse(this.node, () => this.follow(true))
    }

    /** The words, in the language that the window has now. */
    label() {
        this.said = language()
        this.element.ariaLabel = text("photo")
        this.open.textContent = text("browse")
        this.look.title = text("browseLong")
        this.look.ariaLabel = text("browseLong")
        this.boxText.textContent = text("showMask")
    }

    drawMask(on) {
        this.mask = on
        this.follow(true)
    }

    /** Ask for what the values name, if that has changed or `again`. */
    follow(again = false) {
        if (this.said !== language()) {
            this.label()
            again = true
        }
        const wanted = JSON.stringify([values(this.node), linked(this.node), this.mask])
        if (wanted === this.wanted && !again) return
        const changed = wanted !== this.wanted
        this.wanted = wanted
        this.asked = Date.now()
        clearTimeout(this.timer)
        this.timer = setTimeout(() => this.load(wanted), changed && this.shown !== null ? TYPING : 0)
    }

    async load(wanted) {
        let [blob, tag, note] = [null, null, text("linked")]
        if (!linked(this.node).length) {
            try {
                const asked = { ...values(this.node), ...(this.mask && { mask: 1 }) }
                const answer = await ask("thumbnail", asked)
                tag = answer.headers.get("ETag")
                note = text("range", { last: answer.headers.get("DefectForge-Count") - 1 })
                blob = await answer.blob()
            } catch (error) {
                note = text("noPhoto")
                this.says.title = error.message
            }
        }
        if (wanted !== this.wanted) return // overtaken by a later change
        this.show(blob, tag, note, wanted)
    }

    show(blob, tag, note, wanted) {
        if (blob === null || tag === null || tag !== this.tag || wanted !== this.shown) {
            this.free()
            if (blob) this.picture.src = this.url = URL.createObjectURL(blob)
            this.picture.hidden = !blob
        }
        const { category, split, type, index } = values(this.node)
        this.picture.alt = blob ? text("photoOf", { category, split, type, index }) : ""
        this.look.disabled = !blob
        if (blob) this.says.title = ""
        Object.assign(this, { tag, note, shown: wanted })
        if (this.says.textContent !== note) this.says.textContent = note
    }

    free() {
        if (this.url) URL.revokeObjectURL(this.url)
        this.url = null
        this.picture.removeAttribute("src")
    }
}

const visible = (shown) => document.visibilityState === "visible" && shown.element.isConnected

/** Look at all nodes' values from now on, and now and then at the disk. */
export function watch() {
    setInterval(() => {
        for (const shown of PhotoWidget.living) {
            settle(shown, ".defectforge-photo")
            // A node that was put away (another tab, another subgraph) is looked at when it is there again.
            if (visible(shown)) shown.follow(Date.now() - shown.asked > DISK)
        }
    }, LOOK)
    const again = () => PhotoWidget.living.forEach((shown) => visible(shown) && shown.follow(true))
    addEventListener("focus", again)
    api.addEventListener("execution_success", again)
}

