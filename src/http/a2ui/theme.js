// How A2UI components look. The components want a class list for each of their parts; style comes by `additionalStyles` alone.
const parts = (...names) => Object.fromEntries(names.map((name) => [name, {}]));
const field = () => parts("container", "element", "label");
const hints = ["h1", "h2", "h3", "h4", "h5", "h6", "caption", "body"];
const box = { border: "1px solid #2b3244", borderRadius: "12px", padding: "14px" };

export const theme = {
  components: {
    ...parts("AudioPlayer", "Button", "Card", "Column", "Divider", "Icon", "List", "Row", "Video"),
    CheckBox: field(),
    DateTimeInput: field(),
    MultipleChoice: field(),
    Slider: field(),
    TextField: field(),
    Image: parts("all", "icon", "avatar", "smallFeature", "mediumFeature", "largeFeature", "header"),
    Modal: parts("backdrop", "element"),
    Tabs: { ...parts("container", "element"), controls: parts("all", "selected") },
    Text: parts("all", ...hints),
  },
  elements: parts("a", "audio", "body", "button", "h1", "h2", "h3", "h4", "h5", "iframe", "input", "p", "pre", "textarea", "video"),
  markdown: Object.fromEntries(["p", "h1", "h2", "h3", "h4", "h5", "ul", "ol", "li", "a", "strong", "em"].map((it) => [it, []])),
  additionalStyles: {
    Button: { background: "#3f7cf6", border: "0", borderRadius: "8px", color: "#fff", cursor: "pointer", font: "inherit",
      padding: "8px 14px" },
    Card: { ...box, background: "#141924" },
    Column: { gap: "10px" },
    Divider: { opacity: "0.3" },
    Image: { borderRadius: "8px" },
    Modal: { ...box, background: "#141924", maxWidth: "90vw" },
    Row: { alignItems: "center", gap: "10px" },
    TextField: { display: "grid", gap: "4px" },
  },
};
