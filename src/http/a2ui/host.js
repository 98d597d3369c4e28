// The page that shows what an agent sends as A2UI messages (version 0.8), and tells the app around it what a person did.
//
// What the apps look for, by name: `openclawA2UI`, `__openclaw`, the `openclawCanvasA2UIAction` handlers that they provide, and
// the `openclaw:a2ui-action-status` event by which they say how it went.
import { ContextProvider } from "@lit/context";
import { v0_8 } from "@a2ui/lit";
import { Context } from "@a2ui/lit/ui";
import { LitElement, css, html, nothing } from "lit";
import { repeat } from "lit/directives/repeat.js";
import "../canvas/bridge.js";
import { markdown } from "./markdown.js";
import { theme } from "./theme.js";

const NOTE_MS = 4000;

class Host extends LitElement {
  static properties = { surfaces: { state: true }, pending: { state: true }, note: { state: true } };
  static styles = css`
    :host { display: block; pointer-events: none; }
    #surfaces { height: 100%; overflow: auto; box-sizing: border-box; padding: 16px; pointer-events: auto; }
    a2ui-surface + a2ui-surface { margin-top: 16px; }
    [role="status"] { position: absolute; left: 50%; bottom: 16px; transform: translateX(-50%); padding: 6px 12px;
      border-radius: 8px; background: #1d2330; border: 1px solid #39415a; }
    [role="status"].failed { border-color: #b4545d; }
  `;

  #processor = v0_8.Data.createSignalA2uiMessageProcessor();

  constructor() {
    super();
    this.surfaces = [];
    this.pending = null;
    this.note = null;
    new ContextProvider(this, { context: Context.theme, initialValue: theme });
    new ContextProvider(this, { context: Context.markdown, initialValue: markdown });
    this.addEventListener("a2uiaction", (event) => this.#act(event.detail));
    globalThis.addEventListener("openclaw:a2ui-action-status", (event) => this.#told(event.detail));
    globalThis.openclawA2UI = {
      applyMessages: (messages) => this.#apply(messages),
      reset: () => this.#reset(),
      getSurfaces: () => [...this.#processor.getSurfaces().keys()],
    };
  }

  #apply(messages) {
    if (!Array.isArray(messages)) throw new Error("A2UI: an array of messages is expected");
    this.#processor.processMessages(messages);
    this.surfaces = [...this.#processor.getSurfaces()];
    this.pending = null;
    return { ok: true, surfaces: this.surfaces.map(([id]) => id) };
  }

  #reset() {
    this.#processor.clearSurfaces();
    this.surfaces = [];
    this.pending = null;
    return { ok: true };
  }

  #act(detail) {
    if (detail?.eventType !== "a2ui.action" || !detail.action?.name) return;
    const { action, sourceComponentId, sourceComponent } = detail;
    const surfaceId = this.#surfaceOf(sourceComponentId);
    const read = (path) => this.#processor.getData(sourceComponent, path, surfaceId);
    const context = {};
    for (const { key, value } of action.context ?? []) {
      context[key] = typeof value.path === "string" ? read(value.path)
        : value.literalString ?? value.literalNumber ?? value.literalBoolean ?? null;
    }
    const timestamp = new Date().toISOString();
    const id = globalThis.crypto?.randomUUID?.() ?? `${Date.now()}-${Math.random()}`;
    const did = { id, name: action.name, surfaceId, sourceComponentId, timestamp, context };
    globalThis.__openclawLastA2UIAction = did;
    this.pending = { id, name: action.name };
    try {
      if (!globalThis.openclawSendUserAction(did)) throw new Error("no app is listening");
    } catch (err) {
      this.#told({ id, ok: false, error: err.message });
    }
  }

  #surfaceOf(componentId) {
    for (const [id, surface] of this.#processor.getSurfaces()) {
      if (surface.components?.has(componentId)) return id;
    }
    return "main";
  }

  // How the app fared with an action.
  #told(detail) {
    if (!detail || detail.id !== this.pending?.id) return;
    if (detail.ok) {
      this.pending = { ...this.pending, sent: true };
      return;
    }
    const note = `${this.pending.name}: ${detail.error || "could not be sent"}`;
    this.pending = null;
    this.note = note;
    setTimeout(() => this.note === note && (this.note = null), NOTE_MS);
  }

  render() {
    const { pending, note } = this;
    return html`
      ${this.surfaces.length === 0 ? nothing : html`<div id="surfaces">
        ${repeat(this.surfaces, ([id]) => id, ([id, surface]) => html`<a2ui-surface
          .surfaceId=${id} .surface=${surface} .processor=${this.#processor}></a2ui-surface>`)}
      </div>`}
      ${note ? html`<div role="status" class="failed">${note}</div>`
        : pending ? html`<div role="status">${pending.name} ${pending.sent ? "…" : "is being sent"}</div>` : nothing}
    `;
  }
}

// The drawing surface beneath, which `canvas.eval` may use.
function drawing() {
  const canvas = document.getElementById("drawing");
  const ctx = canvas.getContext("2d");
  const fit = () => {
    const scale = devicePixelRatio || 1;
    canvas.width = Math.max(1, Math.floor(innerWidth * scale));
    canvas.height = Math.max(1, Math.floor(innerHeight * scale));
    ctx.setTransform(scale, 0, 0, scale, 0, 0);
  };
  addEventListener("resize", fit);
  fit();
  return { canvas, ctx };
}

// A line for whoever looks for a fault: shown when the app, or the address (`?debugStatus=1`), asks for it.
function status() {
  const place = document.getElementById("status");
  const asked = new URLSearchParams(location.search);
  let enabled = ["1", "true", "yes"].includes((asked.get("debugStatus") ?? asked.get("debug") ?? "").toLowerCase());
  return {
    setDebugStatusEnabled(on) {
      enabled = Boolean(on);
      place.hidden ||= !enabled;
    },
    setStatus(title, subtitle) {
      place.hidden = !enabled || !(title || subtitle);
      place.querySelector("b").textContent = title ?? "";
      place.querySelector("span").textContent = subtitle ? `\n${subtitle}` : "";
    },
  };
}

const platform = new URLSearchParams(location.search).get("platform");
if (platform) document.documentElement.dataset.platform = platform.toLowerCase();
globalThis.__openclaw = { ...drawing(), ...status() };
customElements.define("openclaw-a2ui-host", Host);
