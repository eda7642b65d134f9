// What the window asks the server of a dataset, and the words it uses: shared by the node's widget and the dialog.

import { app } from "../../../scripts/app.js"
import { api } from "../../../scripts/api.js"

export const INPUTS = ["root", "category", "split", "type", "index"]

export const widget = (node, name) => node.widgets?.find((w) => w.name === name)

/** The values that name one photo. */
export const values = (node) => Object.fromEntries(INPUTS.map((name) => [name, widget(node, name)?.value ?? ""]))

/** Names of the inputs that another node gives. */
export const linked = (node) => INPUTS.filter((name) => node.inputs?.find((i) => i.widget?.name === name)?.link != null)

export const address = (path, parameters) => `/defectforge/${path}?${new URLSearchParams(parameters)}`

/** The server's answer; an Error with its own words where it has none. */
export async function ask(path, parameters) {
    const answer = await api.fetchApi(address(path, parameters), { cache: "no-cache" }).catch((error) => {
        throw new Error(text("noAnswer", { reason: error.message }))
    })
    if (answer.ok) return answer
    const said = await answer.json().catch(() => ({}))
    throw new Error(said.error ?? text("noListing", { status: answer.status }))
}

// The words lie in locales/<language>/main.json, where those of the nodes are; the server hands out all languages.
let words = {}
let asked = null

/** Ask for the words, once for all who need them. */
export function fetchTexts() {
    asked ??= (async () => {
        const all = await api.fetchApi("/i18n").then((answer) => answer.json()).catch(() => ({}))
        words = Object.fromEntries(Object.entries(all).map(([language, found]) => [language, found.defectforge ?? {}]))
    })()
    return asked
}

/** Add a style sheet that lies beside the scripts. */
export const style = (name) => document.head.append(make("link", { rel: "stylesheet", href: new URL(name, import.meta.url).href }))

/**
 * Nodes 2.0 keeps the drawing of a node whose graph was replaced (undo, a subgraph), with the part of the node that is
 * gone in it, where the new one has the same id: ours goes in its place.
 */
export function settle(shown, selector) {
    if (shown.element.isConnected || shown.node.graph !== app.canvas.graph) return
    const left = document.querySelector(`[data-node-id="${CSS.escape(shown.node.id)}"] ${selector}`)
    left?.replaceWith(shown.element)
}

/** The window's language, such as "ja". */
export function language() {
    try {
        return app.extensionManager?.setting?.get("Comfy.Locale") ?? "en"
    } catch {
        return "en"
    }
}

/** A text in the window's language, else in English; {name} in it is replaced. */
export function text(key, parts = {}) {
    const found = words[language()]?.[key] ?? words.en?.[key] ?? key
    return found.replace(/\{(\w+)\}/g, (whole, name) => parts[name] ?? whole)
}

/** An element with properties and children; `label` names it for screen readers. */
export const make = (tag, { label, ...properties } = {}, ...children) => {
    const made = Object.assign(document.createElement(tag), properties)
    if (label) made.ariaLabel = label
    made.append(...children)
    return made
}

export const button = (properties, ...children) => make("button", { type: "button", ...properties }, ...children)
