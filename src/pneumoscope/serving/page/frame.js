// What every page has around its content: theme and language.
import { currentLanguage, t, useLanguage } from "./words.js";

const $ = (id) => document.getElementById(id);

function useTheme(theme) {
  document.documentElement.dataset.theme = theme;
  localStorage.setItem("theme", theme);
  $("theme").dataset.word = theme === "dark" ? "light" : "dark";
  $("theme").textContent = t($("theme").dataset.word);
}

// The words of the frame, which the bundle in use has a say in.
export function drawFrame() {
  useLanguage(currentLanguage());
  useTheme(document.documentElement.dataset.theme);
}

export function startFrame(onLanguage) {
  document.documentElement.dataset.theme = localStorage.getItem("theme") || "dark";
  drawFrame();
  $("language").value = currentLanguage();
  $("language").addEventListener("change", (event) => {
    useLanguage(event.target.value);
    drawFrame();
    onLanguage();
  });
  $("theme").addEventListener("click", () => useTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
}
