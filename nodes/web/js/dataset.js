// Choosing a photo for "Load MVTec Photo" by looking: a dialog that lists what the typed root holds, and a thumbnail
// on the node. Only the values of the node's own widgets are ever written, so graphs saved with and without this
// script are the same, and a graph runs headlessly without it.

import { app } from "../../../scripts/app.js"
import { api } from "../../../scripts/api.js"

const NODE = "DefectForgeLoadMVTec"
const INPUTS = ["root", "category", "split", "type", "index"]
const PAGE = 120 // thumbnails at a time: a folder may hold tens of thousands
const TYPING = 300 // milliseconds without a change before the server is asked

// Where preview and button lie on the node: beside the four outputs, where the node is empty, so that it need not grow
// (it would lie on its neighbours in graphs that were saved without this script).
const PICTURE = { x: 12, y: 6, width: 74, height: 74 }
const BUTTON = { x: 94, y: 8, width: 78, height: 22 }

const widget = (node, name) => node.widgets?.find((w) => w.name === name)
const values = (node) => Object.fromEntries(INPUTS.map((name) => [name, widget(node, name)?.value ?? ""]))
const linked = (node) => INPUTS.filter((name) => node.inputs?.find((i) => i.widget?.name === name)?.link != null)
const address = (path, parameters) => `/defectforge/${path}?${new URLSearchParams(parameters)}`

/** The server's answer; an Error with its own words where it has none. */
async function ask(path, parameters) {
    const answer = await api.fetchApi(address(path, parameters)).catch((error) => {
        throw new Error(`The server does not answer: ${error.message}`)
    })
    if (answer.ok) return answer
    const said = await answer.json().catch(() => ({}))
    const unknown = `This server cannot list datasets (status ${answer.status}): restart it with a current DefectForge.`
    throw new Error(said.error ?? unknown)
}

/** Write the choice into the widgets, as one step that can be undone. */
function choose(node, picked) {
    app.canvas.emitBeforeChange()
    for (const [name, value] of Object.entries(picked)) {
        const target = widget(node, name)
        target.value = value
        target.callback?.(value, app.canvas, node)
    }
    app.canvas.emitAfterChange()
    node.setDirtyCanvas(true, true)
}

// ---------------------------------------------------------------------------------------------- the node's preview

/** The thumbnail of the photo that a node's widgets name. */
class Preview {
    constructor(node) {
        Object.assign(this, { node, wanted: null, picture: null, note: "" })
    }

    /** Follow the widgets. Asked whenever the node is drawn: values also change by undo, by loading, after a run. */
    follow(again = false) {
        const wanted = JSON.stringify([values(this.node), linked(this.node)])
        if (wanted === this.wanted && !again) return
        this.wanted = wanted
        clearTimeout(this.timer)
        this.timer = setTimeout(() => this.load(wanted), TYPING)
    }

    async load(wanted) {
        let [picture, note] = [null, "linked"]
        if (!linked(this.node).length) {
            try {
                const answer = await ask("thumbnail", values(this.node))
                note = `index 0–${answer.headers.get("DefectForge-Count") - 1}`
                picture = await createImageBitmap(await answer.blob())
            } catch {
                note = "no photo" // the dialog says why, and so does a run
            }
        }
        if (wanted !== this.wanted) return // overtaken by a later change
        Object.assign(this, { picture, note })
        this.node.setDirtyCanvas(true, true)
    }

    draw(ctx) {
        this.follow()
        ctx.save()
        ctx.font = "12px Arial, sans-serif"
        ctx.textAlign = "center"
        ctx.textBaseline = "middle"
        for (const [box, radius] of [[PICTURE, 4], [BUTTON, 11]]) {
            ctx.beginPath()
            ctx.roundRect(box.x, box.y, box.width, box.height, radius)
            ctx.fillStyle = LiteGraph.WIDGET_BGCOLOR
            ctx.strokeStyle = LiteGraph.WIDGET_OUTLINE_COLOR
            ctx.fill()
            ctx.stroke()
        }
        ctx.fillStyle = LiteGraph.WIDGET_TEXT_COLOR
        ctx.fillText("Browse…", BUTTON.x + BUTTON.width / 2, BUTTON.y + BUTTON.height / 2 + 1)
        ctx.fillStyle = LiteGraph.WIDGET_SECONDARY_TEXT_COLOR
        const { picture } = this
        if (picture) {
            const scale = (PICTURE.width - 4) / Math.max(picture.width, picture.height)
            const [width, height] = [picture.width * scale, picture.height * scale]
            const [x, y] = [PICTURE.x + (PICTURE.width - width) / 2, PICTURE.y + (PICTURE.height - height) / 2]
            ctx.drawImage(picture, x, y, width, height)
            ctx.fillText(this.note, BUTTON.x + BUTTON.width / 2, BUTTON.y + 40)
        } else {
            ctx.fillText(this.note, PICTURE.x + PICTURE.width / 2, PICTURE.y + PICTURE.height / 2)
        }
        ctx.restore()
    }
}

const within = (box, [x, y]) => x >= box.x && x < box.x + box.width && y >= box.y && y < box.y + box.height

// ---------------------------------------------------------------------------------------------------- the dialog

const STYLE = new URL("./dataset.css", import.meta.url).href

const make = (tag, properties = {}, ...children) => {
    const made = Object.assign(document.createElement(tag), properties)
    made.append(...children)
    return made
}
const button = (properties, ...children) => make("button", { type: "button", ...properties }, ...children)

/** Let a person choose one photo of the root that is typed into the node. */
function browse(node) {
    const now = values(node)
    const root = make("input", { value: now.root, placeholder: "empty: the input folder and all registered folders" })
    const category = make("select", { ariaLabel: "category" })
    const types = make("nav")
    const photos = make("div", { className: "photos" })
    const message = make("div", { className: "message", role: "alert", hidden: true })
    const where = make("span")
    const [back, on] = [button({ textContent: "‹ earlier" }), button({ textContent: "later ›" })]
    const close = button({ textContent: "✕", title: "Close", onclick: () => dialog.close() })
    const list = make("button", { type: "submit", textContent: "List" })
    const form = make(
        "form",
        {},
        make("header", {}, make("b", { textContent: `Choose a photo for “${node.title}”` }), close),
        make("label", {}, "root", root, list),
        types, photos, message,
        make("footer", {}, where, back, on),
    )
    const style = make("link", { rel: "stylesheet", href: STYLE })
    const dialog = make("dialog", { className: "defectforge-dataset" }, style, form)
    let listing = {}
    let page = 0
    let wanted = 0

    const say = (text) => {
        message.textContent = text
        message.hidden = !text
        for (const part of [types, photos, back, on]) part.hidden = Boolean(text)
        if (text) where.textContent = ""
    }

    const isOwn = () => {
        const own = values(node)
        return root.value === own.root && ["category", "split", "type"].every((name) => now[name] === own[name])
    }

    function showPhotos(number) {
        page = number
        const count = listing[now.category][now.split][now.type]
        const [first, end] = [page * PAGE, Math.min(count, (page + 1) * PAGE)]
        photos.replaceChildren(
            ...Array.from({ length: end - first }, (_, offset) => {
                const picked = { root: root.value, category: now.category, split: now.split, type: now.type }
                picked.index = first + offset
                const src = api.apiURL(address("thumbnail", picked))
                const picture = make("img", { src, loading: "lazy", alt: `photo ${picked.index}` })
                const photo = button({ title: "Take this photo" }, picture, String(picked.index))
                photo.ariaCurrent = String(isOwn() && picked.index === now.index)
                photo.onclick = () => {
                    choose(node, picked)
                    dialog.close()
                }
                return photo
            }),
        )
        photos.querySelector("[aria-current=true]")?.scrollIntoView({ block: "nearest" })
        const shown = count > PAGE ? `; shown: ${first} to ${end - 1}` : ""
        where.textContent = `${now.category}, ${now.split}, ${now.type}: index 0 to ${count - 1}${shown}`
        back.hidden = on.hidden = count <= PAGE
        back.disabled = page === 0
        on.disabled = end === count
    }

    function showTypes(changes) {
        Object.assign(now, changes)
        const splits = listing[now.category]
        // A type, a split or a category that is not there gives way to the first one that is.
        if (!splits[now.split]) now.split = Object.keys(splits)[0]
        if (!(now.type in splits[now.split])) now.type = Object.keys(splits[now.split])[0]
        types.replaceChildren(category)
        for (const [split, counts] of Object.entries(splits)) {
            types.append(make("span", { textContent: split }))
            for (const [type, count] of Object.entries(counts)) {
                const entry = button({ title: `${split}/${type}` }, type, make("small", { textContent: count }))
                entry.ariaCurrent = String(split === now.split && type === now.type)
                entry.onclick = () => showTypes({ split, type })
                types.append(entry)
            }
        }
        // The page that the node's own photo is on, where its folder is shown.
        const last = splits[now.split][now.type] - 1
        showPhotos(isOwn() ? Math.floor(Math.min(now.index, last) / PAGE) : 0)
    }

    async function load() {
        const turn = ++wanted
        try {
            const links = linked(node)
            if (links.length) {
                throw new Error(`${links.join(", ")}: comes from another node. Take the link off to choose here.`)
            }
            const { categories } = await (await ask("dataset", { root: root.value })).json()
            if (turn !== wanted) return // overtaken by a later request
            listing = categories
        } catch (error) {
            if (turn === wanted) say(error.message)
            return
        }
        say("")
        if (!(now.category in listing)) now.category = Object.keys(listing)[0]
        category.replaceChildren(...Object.keys(listing).map((name) => make("option", { value: name }, name)))
        category.value = now.category
        showTypes({})
    }

    category.onchange = () => showTypes({ category: category.value })
    back.onclick = () => showPhotos(page - 1)
    on.onclick = () => showPhotos(page + 1)
    form.onsubmit = (event) => {
        event.preventDefault()
        load()
    }
    dialog.onclick = (event) => {
        if (event.target === dialog) dialog.close() // beside it
    }
    // The window's shortcuts (Delete, r, Escape, ...) are meant for the graph, not for what is typed here.
    const hold = (event) => event.stopPropagation()
    addEventListener("keydown", hold, true)
    dialog.onclose = () => {
        removeEventListener("keydown", hold, true)
        dialog.remove()
        node.defectforgePreview.follow(true)
    }
    document.body.append(dialog)
    dialog.showModal()
    return load()
}

// ------------------------------------------------------------------------------------------------- the extension

app.registerExtension({
    name: "DefectForge.dataset",
    nodeCreated(node) {
        if (node.comfyClass !== NODE) return
        // Stepping to another photo after each run is wished for only where a person says so; the window's own default
        // is "randomize". A saved graph sets its own value after this.
        const control = widget(node, "index")?.linkedWidgets?.[0]
        if (control) control.value = "fixed"

        const preview = new Preview(node)
        node.defectforgePreview = preview
        const size = [...node.size]
        // Not saved and not queued. Drawn and clicked beside the outputs, so it takes no room below them.
        const extra = node.addWidget("button", "Browse…", null, () => browse(node), { serialize: false })
        extra.serialize = false
        extra.computeSize = () => [0, -4]
        extra.draw = (ctx) => preview.draw(ctx)
        node.setSize(size)

        const { onMouseDown, getExtraMenuOptions } = node
        node.onMouseDown = function (event, position, canvas) {
            if (!this.flags.collapsed && (within(PICTURE, position) || within(BUTTON, position))) {
                // Only after the canvas has seen the button go up; behind a dialog it would take the press for a drag.
                const open = () => setTimeout(() => browse(this))
                addEventListener("pointerup", open, { once: true, capture: true })
                return true
            }
            return onMouseDown?.call(this, event, position, canvas)
        }
        node.getExtraMenuOptions = function (canvas, options) {
            options.unshift({ content: "Browse dataset…", callback: () => browse(this) }, null)
            return getExtraMenuOptions?.call(this, canvas, options)
        }
    },
})
