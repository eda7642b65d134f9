// The dialog in which a person chooses one photo of a dataset by looking.

import { app } from "../../../scripts/app.js"
import { api } from "../../../scripts/api.js"
import { address, ask, button, linked, make, text, values, widget } from "./dataset_server.js"

const PAGE = 120 // thumbnails at a time: a folder may hold tens of thousands

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

/** Move the focus among the photos with the arrow keys, as in any grid of pictures. */
function step(photos, event) {
    const all = [...photos.children]
    const at = all.indexOf(document.activeElement)
    if (at < 0) return
    const columns = all.filter((photo) => photo.offsetTop === all[0].offsetTop).length
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns, Home: -at, End: all.length }
    if (!(event.key in steps)) return
    event.preventDefault()
    all[Math.max(0, Math.min(all.length - 1, at + steps[event.key]))].focus()
}

/** Let a person choose one photo of the root that is typed into the node; `closed` is called at the end. */
export function browse(node, closed) {
    const now = values(node)
    const root = make("input", { value: now.root, placeholder: text("rootHint") })
    const category = make("select", { label: text("category") })
    const types = make("nav", { label: text("types") })
    const photos = make("div", { className: "photos", role: "group", label: text("photos") })
    const message = make("div", { className: "message", role: "alert", hidden: true })
    const where = make("span", { role: "status" })
    const [back, on] = [button({ textContent: text("earlier") }), button({ textContent: text("later") })]
    const close = button({ textContent: "✕", title: text("close"), label: text("close"), onclick: () => dialog.close() })
    const list = make("button", { type: "submit", textContent: text("list") })
    const title = text("title", { node: node.title })
    const form = make(
        "form",
        {},
        make("header", {}, make("b", { textContent: title }), close),
        make("label", {}, text("root"), root, list),
        types, photos, message,
        make("footer", {}, where, back, on),
    )
    const dialog = make("dialog", { className: "defectforge-dataset", label: title }, form)
    let listing = {}
    let page = 0
    let wanted = 0

    const say = (words) => {
        message.textContent = words
        message.hidden = !words
        for (const part of [types, photos, back, on]) part.hidden = Boolean(words)
        if (words) where.textContent = ""
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
                const src = api.apiURL(address("thumbnail", { ...picked, mask: 1 }))
                const picture = make("img", { src, loading: "lazy", alt: text("photoNumber", picked) })
                const photo = button({ title: text("take") }, picture, String(picked.index))
                photo.ariaCurrent = String(isOwn() && picked.index === now.index)
                photo.onclick = () => {
                    choose(node, picked)
                    dialog.close()
                }
                return photo
            }),
        )
        photos.querySelector("[aria-current=true]")?.scrollIntoView({ block: "nearest" })
        const shown = count > PAGE ? text("shown", { first, last: end - 1 }) : ""
        const { category, split, type } = now
        where.textContent = text("where", { category, split, type, last: count - 1 }) + shown
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
                throw new Error(text("takeOffLink", { names: links.join(", ") }))
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
    const hold = (event) => {
        event.stopPropagation()
        step(photos, event)
    }
    addEventListener("keydown", hold, true)
    dialog.onclose = () => {
        removeEventListener("keydown", hold, true)
        dialog.remove()
        closed()
    }
    document.body.append(dialog)
    dialog.showModal()
    return load()
}
