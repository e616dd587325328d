// What Vite adds to the language.
declare module "*?url" {
  const url: string;
  export default url;
}
declare module "*.css";
interface ImportMeta {
  readonly env: { readonly PROD: boolean };
}
