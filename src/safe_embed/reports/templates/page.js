// The theme button, and the choice of one encoder among figures of several.
const root = document.documentElement;
const button = document.getElementById("theme");
const systemDark = matchMedia("(prefers-color-scheme: dark)");
const KEY = "safe-embed-theme";

function remembered() {
  try { return localStorage.getItem(KEY); } catch { return null; } // a file may have no storage
}
function remember(theme) {
  try { localStorage.setItem(KEY, theme); } catch { /* it is only a preference */ }
}
function isDark() {
  return (root.dataset.theme ?? (systemDark.matches ? "dark" : "light")) === "dark";
}
function label() {
  button.textContent = isDark() ? "Light" : "Dark";
  button.setAttribute("aria-label", isDark() ? "Use the light theme" : "Use the dark theme");
}

if (["light", "dark"].includes(remembered())) root.dataset.theme = remembered();
button.hidden = false;
label();
systemDark.addEventListener("change", label);
button.addEventListener("click", () => {
  root.dataset.theme = isDark() ? "light" : "dark";
  remember(root.dataset.theme);
  label();
});

for (const select of document.querySelectorAll(".encoder-choice")) {
  const figures = select.closest(".by-encoder").querySelectorAll("figure");
  const show = () => {
    for (const figure of figures) figure.hidden = figure.id !== select.value;
    document.dispatchEvent(new Event("figures-shown"));
  };
  select.addEventListener("change", show);
  show();
}
